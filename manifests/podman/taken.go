package podman

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/foreign"
	"example.org/collie/manifests"
)

// A port of the machine that a pod needs may be held by what is no container: a service, a program of a person's, a
// connection that got this port for its own end. Nobody but its owner can give it up, so it is found before a pod stops, and
// again where Podman can't start one for it.
//
//	who has the port                                  it is
//	a container, or Podman's helper that publishes it  handed over; what isn't Collie's is found by its container, see vacant
//	the forwarder                                     handed over
//	another process                                   taken
//	nobody any more, but the kernel keeps it a while  taken
//	a process, at another address than the pod's      free
//
// Whether two addresses exclude each other is asked of the kernel, which knows more than its tables show: of a socket for
// IPv6 they don't show whether it accepts IPv4, too.

// A TakenError says who has what a pod needs. No revision is to blame: it can be switched to once they gave it up.
type TakenError struct{ Says string }

func (e *TakenError) Error() string { return e.Says }

// Vacant reports, as a [TakenError], whether what is no container has a port that a switch to r needs.
func (p *Podman) Vacant(ctx context.Context, r Rendered) error {
	todo, err := p.plan(ctx, r)
	if err != nil {
		return err
	}
	return p.vacantPorts(todo)
}

// vacantPorts checks the ports of the pods that a plan starts.
func (p *Podman) vacantPorts(todo plan) error {
	var pods []RenderedPod
	for _, s := range todo.steps {
		if s.how > settling && s.how != notOurs && s.pod.Cron == nil { // a CronJob takes its ports when it runs
			pods = append(pods, s.pod)
		}
	}
	return p.taken(pods, todo.live)
}

// taken says who has ports of pods. What can't be found out is left to Podman to say.
func (p *Podman) taken(pods []RenderedPod, live map[string]*livePod) error {
	wanted := map[int]bool{}
	for _, pod := range pods {
		for _, port := range pod.takes() {
			wanted[port.Port] = true
		}
	}
	if p.Account == nil || len(wanted) == 0 {
		return nil
	}
	sockets := readSockets("/proc/net", wanted)
	if len(sockets) == 0 {
		return nil
	}
	account, err := p.Account()
	if err != nil {
		return nil
	}
	all, err := processes(account.UID)
	if err != nil {
		return nil
	}
	look := newHolders(all, account.Runtime, live)
	look.find(sockets)
	var says []string
	for _, pod := range pods {
		for _, port := range pod.takes() {
			if by, at, is := look.foreign(port, sockets); is {
				says = append(says, fmt.Sprintf("%s is taken by %s: stop it, or take another port", where(port, pod), by.at(at, port)))
			}
		}
	}
	switch len(says) {
	case 0:
		return nil
	case 1:
		return &TakenError{says[0]}
	}
	return &TakenError{fmt.Sprintf("%s; %d more ports are taken, too", says[0], len(says)-1)}
}

// becauseTaken says of a pod that Podman couldn't start who has its port, if that is why.
func (p *Podman) becauseTaken(ctx context.Context, pod RenderedPod, err error) error {
	if !strings.Contains(err.Error(), "address already in use") {
		return nil
	}
	live, unseen := p.observe(ctx)
	if unseen != nil {
		return nil
	}
	return p.taken([]RenderedPod{pod}, live)
}

// listener names the process that listens on a TCP port of this machine; nothing if there is none.
func listener(port int) string {
	sockets := slices.DeleteFunc(readSockets("/proc/net", map[int]bool{port: true}), func(s socket) bool {
		return !s.listens || s.protocol != "TCP"
	})
	all, err := processes(os.Getuid())
	if err != nil || len(sockets) == 0 {
		return ""
	}
	look := newHolders(all, "", nil)
	look.find(sockets)
	return look.whose(sockets[0]).at(sockets[0], manifests.HostPort{IP: sockets[0].local.Addr().String()})
}

// where names a port of a pod as the file has it.
func where(port manifests.HostPort, pod RenderedPod) string {
	number := strconv.Itoa(port.Port)
	if port.Protocol != "TCP" {
		number += "/" + port.Protocol
	}
	if port.Field == "" {
		return fmt.Sprintf("pod %s (%s): port %s of the machine", pod.Name, pod.source(), number)
	}
	return fmt.Sprintf("%s:%d: %s: %s", pod.File, port.Line, port.Field, number)
}

// A holder is who has a socket.
type holder struct {
	pid  int    // 0: no process has it
	name string // as it calls itself
	user string
}

// at says who it is, and where, if the pod wanted all addresses or another one.
func (h holder) at(s socket, wanted manifests.HostPort) string {
	var is []string
	if h.pid != 0 {
		is = append(is, fmt.Sprintf("process %d of %s", h.pid, h.user))
	}
	if ip := s.local.Addr(); !ip.IsUnspecified() && ip.String() != wanted.IP {
		is = append(is, "at "+ip.String())
	}
	what := cmp.Or(h.name, "a process of "+h.user+" that can't be inspected")
	switch {
	case s.link() == "":
		what = "a connection that has ended, for a minute at most"
	case h.pid == 0 && h.user == "root":
		what = "the kernel itself, or a process that can't be inspected"
	case !s.listens:
		what = "a connection of " + what
	}
	if len(is) == 0 {
		return what
	}
	return what + " (" + strings.Join(is, ", ") + ")"
}

// holders knows which processes have which sockets.
type holders struct {
	all        []process
	runtime    string
	byPID      map[int]process
	containers map[int]bool   // their processes
	by         map[string]int // the process that has a socket, by its link
	bind       func(port manifests.HostPort) error
}

func newHolders(all []process, runtime string, live map[string]*livePod) *holders {
	h := &holders{all: all, runtime: runtime, byPID: map[int]process{}, containers: map[int]bool{}, by: map[string]int{}, bind: bind}
	for _, one := range all {
		h.byPID[one.pid] = one
	}
	for _, l := range live {
		for _, c := range l.all() {
			if c.runs() && c.Pid > 0 {
				h.containers[c.Pid] = true
			}
		}
	}
	return h
}

// find finds the processes that have sockets: first those of the pods' user, who mostly do.
func (h *holders) find(sockets []socket) {
	missing := map[string]bool{}
	for _, s := range sockets {
		if link := s.link(); link != "" {
			missing[link] = true
		}
	}
	inOrder := slices.SortedStableFunc(slices.Values(h.all), func(a, b process) int {
		if a.own != b.own {
			if a.own {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.pid, b.pid)
	})
	for _, one := range inOrder {
		if len(missing) == 0 {
			return
		}
		for link := range links(one.pid) {
			if missing[link] {
				h.by[link] = one.pid
				delete(missing, link)
			}
		}
	}
}

// ours reports whether a process serves containers or is in one: what it holds is handed over by a switch.
func (h *holders) ours(pid int) bool {
	for range 64 { // ancestors
		one, known := h.byPID[pid]
		if !known || pid <= 1 {
			return false
		}
		if h.containers[pid] || one.publishes(h.runtime) || one.role(h.runtime) == "conmon" {
			return true
		}
		pid = one.parent
	}
	return false
}

// publishes reports whether a process of the pods' user listens for pods: Podman's, or Collie's forwarder.
func (p process) publishes(runtime string) bool {
	if !p.own || len(p.args) == 0 {
		return false
	}
	switch filepath.Base(p.args[0]) {
	case "pasta", "pasta.avx2", "slirp4netns":
		return true
	case "collie":
		return slices.Contains(p.args[1:], "forward")
	}
	return p.role(runtime) != ""
}

// foreign is who has a port that isn't handed over, and by which socket.
func (h *holders) foreign(port manifests.HostPort, sockets []socket) (holder, socket, bool) {
	var rivals, own []socket
	for _, s := range sockets {
		if int(s.local.Port()) != port.Port || s.protocol != port.Protocol {
			continue
		}
		switch pid := h.by[s.link()]; {
		case pid != 0 && s.listens && h.ours(pid):
			own = append(own, s)
		case excludes(port, s):
			rivals = append(rivals, s)
		}
	}
	if len(own) > 0 { // connections are of its clients; a program that can listen while it runs can do so with the next pod, too
		rivals = slices.DeleteFunc(rivals, func(s socket) bool { return !s.listens || beside(port, own, s) })
	} else if len(rivals) > 0 && h.bind(port) != unix.EADDRINUSE {
		return holder{}, socket{}, false
	}
	if len(rivals) == 0 {
		return holder{}, socket{}, false
	}
	slices.SortStableFunc(rivals, func(a, b socket) int { // who listens has it, whoever speaks with it
		switch {
		case a.listens == b.listens:
			return 0
		case a.listens:
			return -1
		}
		return 1
	})
	return h.whose(rivals[0]), rivals[0], true
}

// beside reports whether a socket allows another one on the port. It does if it allows one of own, which is at the same address, or
// at an address of IPv4 while the socket is at all of IPv6.
func beside(port manifests.HostPort, own []socket, s socket) bool {
	wanted := addressOf(port)
	return slices.ContainsFunc(own, func(o socket) bool {
		at := o.local.Addr()
		return at.IsUnspecified() || at == wanted || at.Is4() && wanted.Is4() && s.six && s.local.Addr().IsUnspecified()
	})
}

// excludes reports whether a socket may keep another from listening on the port. Of two for different kinds of addresses
// only the kernel knows.
func excludes(port manifests.HostPort, s socket) bool {
	wanted, at := addressOf(port), s.local.Addr()
	return wanted.IsUnspecified() || at.IsUnspecified() || wanted == at
}

// addressOf is where Podman listens for a port: without an address, or for all of IPv4, it listens at all of IPv6 and IPv4
// (docs/facts/podman.md, "rootlessport listens on").
func addressOf(port manifests.HostPort) netip.Addr {
	ip, err := netip.ParseAddr(port.IP)
	if ip = ip.Unmap(); err != nil || ip.IsUnspecified() {
		return netip.IPv6Unspecified()
	}
	return ip
}

func (h *holders) whose(s socket) holder {
	who := holder{pid: h.by[s.link()], user: userName(s.uid)}
	if who.pid == 0 {
		return who
	}
	dir := fmt.Sprintf("/proc/%d", who.pid)
	if info := new(unix.Stat_t); unix.Stat(dir, info) == nil {
		who.user = userName(int(info.Uid))
	}
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err == nil {
		who.name = foreign.Line(string(name), 64) // whoever runs it chose the name
	}
	return who
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}

// bind takes a port for a moment, without listening, as what publishes it would. The kernel refuses what is taken with
// EADDRINUSE.
func bind(port manifests.HostPort) error {
	kind := unix.SOCK_STREAM
	if port.Protocol == "UDP" {
		kind = unix.SOCK_DGRAM
	}
	ip := addressOf(port)
	if ip.Is4() {
		return bindAt(unix.AF_INET, kind, &unix.SockaddrInet4{Port: port.Port, Addr: ip.As4()})
	}
	err := bindAt(unix.AF_INET6, kind, &unix.SockaddrInet6{Port: port.Port, Addr: ip.As16()})
	if ip.IsUnspecified() && (err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL) { // a machine without IPv6
		return bindAt(unix.AF_INET, kind, &unix.SockaddrInet4{Port: port.Port})
	}
	return err
}

func bindAt(family, kind int, at unix.Sockaddr) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if kind == unix.SOCK_STREAM { // connections that ended are no matter to who listens
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if family == unix.AF_INET6 && err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err != nil {
		return err
	}
	return unix.Bind(fd, at)
}
