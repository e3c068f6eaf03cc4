package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A kept is what there may be of a kind: how many lines of a census match.
type kept struct {
	what     string
	pattern  string
	min, max int
}

// keptBy is all that may be in a census while a commit is good and nothing is under way. The Secrets of the newest commit stay
// until there is a newer one, even if it is bad.
func keptBy(c pushed, newest bool) []kept {
	secrets := 2
	if newest {
		secrets = 1
	}
	one := func(what, pattern string) kept { return kept{what, pattern, 1, 1} }
	some := func(n int, what, pattern string) kept { return kept{what, pattern, n, n} }
	pods, web := 3, 2 // steady, web and near, of which the first two are web servers
	movers := map[string]int{c.mover: 1}
	pods += movers["pod"]
	web += movers["pod"]
	all := []kept{
		one("Shepherd", `process\troot \S+guile\S* .*/bin/shepherd --config .*`),
		one("registry", `process\troot \S+/docker-registry .*`),
		one("agent", `process\troot \S+/bin/collie run .*`),
		one("guix-daemon", `process\troot \S+/guix-daemon .*`),
		{"Podman's service", `process\tpodman \S+/podman system service .*`, 0, 2}, // it is one that forks, and ends when it isn't asked anything
		{"Podman's pause process", `process\tpodman catatonit -P`, 0, 1},
		one("prober", `process\troot probe .*`),
		one("system's service clock", fmt.Sprintf(`process\troot sleep %d`, 100_000+c.service)),
		one("system's service lamp", `process\troot busybox httpd -f -p 127.0.0.1:8090 .*`),
		some(movers["service"], "system's service mover", `process\troot busybox httpd -f -p 8095 .*`),
		one("user's Shepherd", `process\tpodman \S+guile\S* .*/bin/shepherd .*`),
		one("reader of what the user's Shepherd says", `process\troot cat`),
		one("home's service bell", fmt.Sprintf(`process\tpodman sleep %d`, 200_000+c.service)),
		one("home's service door", `process\tpodman busybox httpd -f -p 127.0.0.1:8091 .*`),
		one("pasta of the shared network", `process\tpodman \S*pasta .*rootless-netns.*`),
		one("aardvark-dns", `process\tpodman \S+/aardvark-dns .* run`),
		some(pods, "rootlessport", `process\tpodman rootlessport`),
		some(pods, "rootlessport's child", `process\tpodman rootlessport-child`),
		one("forwarder", `process\t\S+ \S+/collie forward.*`),
		one("what confines the forwarder", `process\tpodman \S*guile\S* .*-collie-forwarder forward`),
		some(2*pods, "conmon", `process\tpodman \S*conmon .*`),
		some(pods, "infra container's process", `process\tpodman /catatonit -P`),
		some(web, "web server of a pod", `process\tpodman httpd -f -p 8080 -h /www`),
		one("prober of the pod near", `process\tpodman /probe .*`),

		one("pod", `pod\tsteady-[0-9a-f]+ Running`),
		one("pod", `pod\tweb-[0-9a-f]+ Running`),
		one("pod", `pod\tnear-[0-9a-f]+ Running`),
		some(movers["pod"], "pod mover", `pod\tmover-[0-9a-f]+ Running`),
		some(2*pods, "container", `container\t[a-z]+-[0-9a-f]+ running [0-9a-f]+`),
		some(2*pods, "container for the run-time", `runtime\t[0-9a-f]+`),
		some(2*pods, "container in the storage", `stored\t[0-9a-f]+`),
		some(pods, "network namespace", `netns\tnetns-.*`),
		{"Secret", `secret\tword-.*`, 1, secrets},
		one("network", `network\tpodman`),
		one("network", `network\tpodman-default-kube-network`),
	}
	return all
}

// leftOver compares a census with what there may be, and says what is missing, there too often, or not to be there at all.
func leftOver(census string, good pushed, newest bool) (wrong []string) {
	lines := slices.DeleteFunc(strings.Split(census, "\n"), func(line string) bool { return line == "" })
	named := map[string]bool{} // by the state
	for _, line := range lines {
		if kind, name, _ := strings.Cut(line, "\t"); strings.HasPrefix(kind, "wanted-") {
			named[strings.TrimPrefix(kind, "wanted-")+"\t"+name] = true
		}
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "wanted-") || named[line] })
	for _, k := range keptBy(good, newest) {
		re := regexp.MustCompile("^" + k.pattern + "$")
		before := len(lines)
		lines = slices.DeleteFunc(lines, re.MatchString)
		if n := before - len(lines); n < k.min || n > k.max {
			wrong = append(wrong, fmt.Sprintf("%d of %s, not %d", n, k.what, k.max))
		}
	}
	often := map[string]int{}
	for _, line := range lines {
		often[line]++
	}
	for _, line := range slices.Sorted(maps.Keys(often)) {
		wrong = append(wrong, fmt.Sprintf("nothing needs: %s (%d)", strings.Replace(line, "\t", " ", 1), often[line]))
	}
	return wrong
}

// As seen in a guest, with shorter names.
const tidyCensus = `process	root /usr/bin/guile-3.0 --no-auto-compile /gnu/store/v9p-shepherd-1.0.9/bin/shepherd --config /gnu/store/7v6-shepherd.conf
process	root /usr/bin/docker-registry serve /gnu/store/sk0-registry.yml
process	root /gnu/store/cbv-lab-collie-none/bin/collie run --config /gnu/store/sls-collie.yaml
process	root probe /var/log/probe steady by port=http://127.0.0.1:8085
process	root /gnu/store/x48-guix-1.5.0rc1/bin/guix-daemon --build-users-group guixbuild
process	podman /usr/bin/guile --no-auto-compile /gnu/store/b7w-collie-forwarder forward
process	podman /gnu/store/cbv-lab-collie-none/bin/collie forward
process	podman catatonit -P
process	root busybox httpd -f -p 127.0.0.1:8090 -h /share
process	root sleep 100007
process	podman /usr/bin/guile-3.0 --no-auto-compile /gnu/store/h8h-shepherd-for-home-1.0.9/bin/shepherd --silent --config /gnu/store/jbg-shepherd.conf
process	root cat
process	podman busybox httpd -f -p 127.0.0.1:8091 -h /share
process	podman sleep 200007
process	podman /run/current-system/profile/bin/pasta --config-net --netns /run/user/1000/containers/networks/rootless-netns/rootless-netns
process	podman /usr/lib/podman/aardvark-dns --config /run/user/1000/containers/networks/aardvark-dns -p 53 run
pod	web-76cf7b1b Running
pod	steady-d3939d5f Running
pod	near-0123abcd Running
secret	word-1ccb6ff7
network	podman
network	podman-default-kube-network
wanted-item	/gnu/store/9g9-home
wanted-target	home-9g9
wanted-tree	/var/lib/collie/trees/021
target	home-9g9
tree	/var/lib/collie/trees/021
item	/gnu/store/9g9-home
item	/gnu/store/9g9-home
process	podman /probe -serve :8080 /var/lib/near/log
process	podman httpd -f -p 8080 -h /www
process	podman httpd -f -p 8080 -h /www
`

func TestLeftOver(t *testing.T) {
	tidy := tidyCensus
	for i, pod := range []string{"web-76cf7b1b", "steady-d3939d5f", "near-0123abcd"} {
		tidy += "process\tpodman rootlessport\nprocess\tpodman rootlessport-child\nprocess\tpodman /catatonit -P\n" + fmt.Sprintf("netns\tnetns-%d\n", i)
		for range 2 {
			tidy += "process\tpodman /usr/bin/conmon --api-version 1\n" + fmt.Sprintf("container\t%s running 0a%d\nruntime\t0a%d\nstored\t0a%d\n", pod, i, i, i)
		}
	}
	for _, c := range []struct{ more, less, want string }{
		{"", "", ""},
		{"process\tpodman sleep 200007\n", "", "2 of home's service bell, not 1"},
		{"process\tpodman sleep 200006\n", "", "nothing needs: process podman sleep 200006 (1)"},
		{"", "process\tpodman sleep 200007\n", "0 of home's service bell, not 1"},
		{"", "process\tpodman /usr/lib/podman/aardvark-dns --config /run/user/1000/containers/networks/aardvark-dns -p 53 run\n", "0 of aardvark-dns, not 1"},
		{"process\tpodman rootlessport\n", "", "4 of rootlessport, not 3"},
		{"process\troot /usr/bin/guix build hello\n", "", "nothing needs: process root /usr/bin/guix build hello (1)"},
		{"process\tpodman [httpd] <defunct>\n", "", "nothing needs: process podman [httpd] <defunct> (1)"},
		{"secret\tword-00000000\n", "", "2 of Secret, not 1"},
		{"pod\tweb-00000000 Exited\n", "", "nothing needs: pod web-00000000 Exited (1)"},
		{"volume\tabc\n", "", "nothing needs: volume abc (1)"},
		{"file\t/var/lib/collie/.new-1\n", "", "nothing needs: file /var/lib/collie/.new-1 (1)"},
		{"item\t/gnu/store/old-system\n", "", "nothing needs: item /gnu/store/old-system (1)"},
		{"target\thome-old\n", "", "nothing needs: target home-old (1)"},
	} {
		got := strings.Join(leftOver(strings.Replace(tidy, c.less, "", 1)+c.more, pushed{service: 7}, true), "; ")
		if got != c.want {
			t.Errorf("with %q, without %q: %q, want %q", c.more, c.less, got, c.want)
		}
	}
}
