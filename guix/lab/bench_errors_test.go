package lab

import (
	"fmt"
	"time"
)

// errors measures how long it takes until the status says what a user broke, as nothing that can be watched tells of it: the next
// look at the layer has to find it. Each begins at another moment between two looks.
func (g *bench) errors() {
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
	const within = time.Minute
	kill := func(signal string) string { return `pkill -` + signal + ` -u podman -f "podman.* system service" || :` }
	for i, broken := range []struct{ what, layer, breaks, mends string }{
		{"the user's Shepherd says nothing", "home:podman", `pkill -STOP -u podman -f bin/shepherd`, `pkill -CONT -u podman -f bin/shepherd`},
		{"a home's profile leads to no generation", "home:podman", `readlink $p >/run/led; ln -sfn /root/secret $p`, `ln -sfn $(cat /run/led) $p`},
		{"Podman's API says nothing", "pods", `touch /run/mute; (while test -e /run/mute; do ` + kill("STOP") + `; sleep 0.1; done) >/dev/null 2>&1 </dev/null &`,
			`rm /run/mute; sleep 0.5; ` + kill("CONT")},
		// Last, as status tells of services that died for minutes.
		{"Podman refuses its storage.conf", "pods", `as-podman sh -c 'mkdir -p ~/.config/containers; echo "[[[" >~/.config/containers/storage.conf'; ` + kill("TERM"),
			`rm /home/podman/.config/containers/storage.conf`},
	} {
		const places = `p=/var/guix/profiles/per-user/podman/guix-home; `
		name := fmt.Sprintf("[.problems[], .waits[]?, (.layers[] | select(.error) | {layer: .name})] | any(.layer == %q)", broken.layer)
		g.status("(" + name + ") | not")
		time.Sleep(time.Duration(i) * 11 * time.Second)
		began := time.Now()
		g.do("sh", "-c", places+broken.breaks)
		g.status(name)
		took := time.Since(began)
		g.atMost(broken.what+": until status says so", seconds(within), seconds(took), took <= within)
		g.do("sh", "-c", places+broken.mends)
	}
	g.status(isGood + ` and (.pods | all(.ready))`)
}
