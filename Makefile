# make build      bin/collie: one static program, as Guix's package builds it
# make docs       write the pages in docs/ anew that come from the code
# make demo       a guest in the lab: push, break, roll back, revert
# make lint       what vet, staticcheck and gofmt say, and what is newer than Go 1.25
# make test-unit  the tests that need no lab
# make lab        a guest of guix/lab with bin/collie in it; needs root or sudo
# make test       all of it; what CI runs
# make dist       put the libraries into vendor/, for Guix's package
# make channel    the branch `channel`, for Guix: HEAD with the libraries in vendor/; KEY=… signs it with that key of gpg's
# make image      a disk image of guix/guest; needs Guix
# make vm         such a guest in QEMU; needs Guix
# make bench      what Collie takes, beside the same done by hand; a missed count fails
# make vm-test    the guest as a virtual machine: push, reboot, power cut, WireGuard; in QEMU, with KVM=1 if /dev/kvm works
# make former     the state that the agent of the commit FORMER left is taken over by this one; needs the history
# make torture    commits, some flawed, and what else happens to a machine, at random for TORTURE (10m); SEED repeats one, MISCHIEF chooses some
# make fuzz       each fuzz target for FUZZTIME (5s); `make test` does so for 2s
# make mutants    turn N (20) conditions of the code off, one at a time, and print those that no unit test misses; SEED repeats a run, PKG chooses packages
# make clean      remove bin/
.DEFAULT_GOAL := help
.PHONY: help build docs demo lint test-unit lab test dist channel image vm bench vm-test former torture fuzz mutants clean
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o pipefail -c

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 5s
TORTURE ?= 10m
log := bin/test.log
units = $$(go list ./... | grep -v '/guix/lab$$')

help: ; @sed -n 's/^# make /make /p' Makefile

# Guix's go-build-system builds in GOPATH mode, without go.mod, from vendored libraries, and with the newest Go that Guix
# has. Go behaves differently then, so that program is the one that everything here uses and tests.
guix_go := go1.25.3
gopath := $(CURDIR)/bin/gopath
checkout := $(gopath)/src/example.org/collie
build:
	@rm -rf $(checkout) && mkdir -p $(checkout)
	@git ls-files -z --cached --others --exclude-standard | \
	    tar --null -T - -c | tar -C $(checkout) -x
	@goroot=$$(cd / && GOTOOLCHAIN=$(guix_go) go env GOROOT) && export GOTOOLCHAIN=local && \
	    $$goroot/bin/go mod vendor -o $(checkout)/vendor && \
	    cd $(checkout) && GO111MODULE=off GOFLAGS= GOPATH=$(gopath) CGO_ENABLED=0 \
	    $$goroot/bin/go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' \
	    -o $(CURDIR)/bin/collie example.org/collie/cmd/collie

# Each is compared with the code by a test, and what comes from Scheme with what Guix says of it in the lab.
docs:
	go test -count=1 -run '^TestDocs' ./cmd/collie -update

lint:
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 -run '^TestLint' ./agent
	@files=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); [ -z "$$files" ] || { echo "gofmt would change:" $$files; exit 1; }

# The race detector needs a C compiler.
sudo := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
gcc := command -v gcc >/dev/null || { $(sudo) apt-get update -qq && $(sudo) apt-get install -qq -y gcc libc6-dev; }

# With one processor, since Go 1.26 crashes where two goroutines of a testing/synctest bubble meet a timer that is due: both
# use the race detector's one context of the bubble. What races is found all the same, by who waits for whom.
# What `make lint`, or the lab in a guest, runs is left to them.
race := -race -cpu 1 -parallel 4 -skip '^Test(Lint|Machine)'
# It lets each process sleep for a second before it ends, and there are some hundred.
export GORACE := atexit_sleep_ms=0

test-unit:
	@$(gcc)
	go test $(race) $(units)

lab: build
	guix/lab/lab build

# The log has everything, the screen all but what passes.
logged = $(1) 2>&1 | tee -a $(log) | grep -a --line-buffered -Ev '^ *(=== |--- PASS)|^PASS$$'

# It promises that everything ran, so a skipped test fails it. As root nothing needs to be skipped.
test: lint build
	@rm -f $(log)
	@$(gcc)
	@$(call logged,go test -v $(race) $(units))
	@$(call logged,$(MAKE) --no-print-directory fuzz FUZZTIME=2s)
	guix/lab/lab build
	@COLLIE_LAB=1 $(call logged,go test -v -count=1 -timeout 60m -parallel 4 -skip '^Test(Torture|VM|Former)$$' ./guix/lab)
	@if grep -aq '^ *--- SKIP' $(log); then echo "test: these were skipped, and $(log) says why:"; grep -a '^ *--- SKIP' $(log); exit 1; fi
	@echo "test: ok, $$(grep -ace '--- PASS' $(log)) passed, none skipped"

# Guix's package is built without a network. It isn't committed, and Go looks at nothing else once it is there.
dist:
	go mod vendor

channel: dist
	@guix/channel $(VERSION) $(KEY)

guix := $(shell command -v guix)
guest := -L guix/modules -L guix/guest/modules guix/guest/system.scm
has_guix = @[ -n "$(guix)" ] || { echo "$@: there is no guix here: see the manual's Installation, or use \`make demo'" >&2; exit 1; }

image:
	$(has_guix)
	$(MAKE) dist
	guix system image --image-type=qcow2 --image-size=20G $(guest)

vm:
	$(has_guix)
	$(MAKE) dist
	$$(guix system vm $(guest)) -m 2048 -nographic -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22

demo: lab
	guix/lab/demo

# BENCH selects parts: push, evaluations, validate, return, pods, gaps, deaths, errors, probes, fleet, hostile, polls, packs.
BENCH ?= .
bench: lab
	@CGO_ENABLED=0 go test -count=1 -run '^$$' -bench '^BenchmarkGuest$$/^($(BENCH))' -benchtime 1x -timeout 30m ./guix/lab | \
	    grep --line-buffered -Ev '^(Benchmark|goos|goarch|pkg|cpu|PASS|ok)'

vm-test: lab
	guix/lab/vm build
	COLLIE_VM=1 go test -v -count=1 -timeout 3h -parallel 1 -run '^TestVM$$' ./guix/lab

# It needs the repository's history, with a commit whose libraries can still be had.
FORMER ?= 7f9f543
former: lab
	rm -rf bin/former && mkdir -p bin/former/src
	git archive $(FORMER) | tar x -C bin/former/src
	cd bin/former/src && CGO_ENABLED=0 go build -o ../collie ./cmd/collie
	COLLIE_FORMER=$(CURDIR)/bin/former/collie go test -v -count=1 -timeout 30m -run '^TestFormer$$' ./guix/lab

torture: lab
	COLLIE_TORTURE=$(TORTURE) go test -v -count=1 -timeout 24h -run '^TestTorture$$' ./guix/lab

# Each package is built once for it, and the targets run side by side, with a processor each. What ends one is a signal: where
# -fuzztime does, Go sometimes takes its own deadline for a failure. One that the signal met before it began has more time.
fuzz:
	@mkdir -p bin/fuzz
	@for dir in $$(git grep --untracked -l '^func Fuzz' -- '*_test.go' | xargs dirname | sort -u); do \
	    program=$(CURDIR)/bin/fuzz/$${dir//\//-} && go test -c -fuzz . -o $$program ./$$dir && \
	    (cd $$dir && $$program -test.list '^Fuzz' | sed "s|^|$$dir $$program |"); \
	done | xargs -P $$(nproc) -L 1 bash -c 'cd $$0 && for limit in $(FUZZTIME) 30s; do \
	    said=$$(timeout --foreground --preserve-status -s INT -k 1m $$limit \
	    $$1 -test.v -test.run "^$$" -test.fuzz "^$$2$$" -test.parallel 1 -test.fuzzminimizetime 10x \
	    -test.fuzzcachedir $$(go env GOCACHE)/fuzz/example.org/collie/$$0 2>&1); ended=$$?; [ $$ended = 130 ] || break; done; \
	    echo "$$said"; exit $$ended'

# It chooses others each time, unless it is given the SEED that it prints.
N ?= 20
PKG ?= $(units)
mutants:
	go run ./cmd/mutants -n $(N) $(if $(SEED),-seed $(SEED)) $(PKG)

clean:
	rm -rf bin
