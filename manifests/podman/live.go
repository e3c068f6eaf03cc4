package podman

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/collie/manifests"
)

// A livePod is a pod as the list of containers shows it.
type livePod struct {
	name       string
	labels     map[string]string // of its containers: they bear the pod's. nil if it has none but the infra container
	infra      *container
	containers []container
}

func (l *livePod) ours() bool { return l.labels[labelOwner] == owner }

// object is the name that users know the pod by.
func (l *livePod) object() string {
	_, name, _ := strings.Cut(l.labels[labelObject], "/")
	return cmp.Or(name, l.name)
}

// runs reports whether anything of it does.
func (l *livePod) runs() bool {
	return slices.ContainsFunc(l.all(), container.runs)
}

// settling reports whether Podman still has to clean up behind something of it that ended.
func (l *livePod) settling() bool {
	return slices.ContainsFunc(l.all(), func(c container) bool { return c.State == "stopped" || c.State == "stopping" })
}

// startedAt is when the latest of its containers was.
func (l *livePod) startedAt() int64 {
	var at int64
	for _, c := range l.containers {
		at = max(at, c.StartedAt)
	}
	return at
}

// all are its containers, the infra container last.
func (l *livePod) all() []container {
	if l.infra == nil {
		return l.containers
	}
	return append(slices.Clone(l.containers), *l.infra)
}

func (l *livePod) find(name string) *container {
	for i, c := range l.containers {
		if slices.Contains(c.Names, name) {
			return &l.containers[i]
		}
	}
	return nil
}

func (c container) runs() bool {
	switch c.State {
	case "running", "paused", "stopping":
		return true
	}
	return false
}

// isGhost reports whether Podman believes in a process that is gone.
func (p *Podman) isGhost(c container) bool {
	return c.State == "running" && c.Pid > 0 && !p.alive(c.Pid)
}

// fate tells how a ghost is: hollow if nobody will tell Podman of its end, as its conmon was killed too, and settling if it
// has just ended.
func (p *Podman) fate(ctx context.Context, c container) (condition, error) {
	state, err := p.inspectContainer(ctx, c.ID)
	if err != nil {
		return 0, err
	}
	if state.Running && state.Pid == c.Pid && (state.ConmonPid == 0 || !p.alive(state.ConmonPid)) {
		return hollow, nil
	}
	return settling, nil
}

// cutOff reports whether the machine stopped under the container: it was started after it last ended, and doesn't run.
func (c container) cutOff() bool { return !c.runs() && c.StartedAt > 0 && c.StartedAt > c.ExitedAt }

func (c container) name(pod string) string {
	if len(c.Names) == 0 {
		return fmt.Sprintf("%.12s", c.ID)
	}
	return strings.TrimPrefix(c.Names[0], pod+"-")
}

func (c container) says() string {
	switch {
	case c.cutOff():
		return "was cut off"
	case c.State == "exited" || c.State == "stopped":
		return "ended with " + exitCode(c.ExitCode, false)
	case c.State == "created" || c.State == "configured":
		return "was never started"
	}
	return "is " + c.State
}

// observe lists what is live, by Podman's name for the pod: one call.
func (p *Podman) observe(ctx context.Context) (map[string]*livePod, error) {
	all, err := p.listContainers(ctx)
	if err != nil {
		return nil, err
	}
	return byPod(all), nil
}

// look observes, and takes over what it saw: whom to ask whether it is ready, what ends again and again, whose end is to be
// noticed, and the missing parts of the network that pods share.
func (p *Podman) look(ctx context.Context) (map[string]*livePod, error) {
	all, err := p.listContainers(ctx)
	if err != nil {
		return nil, err
	}
	live := byPod(all)
	p.noteRunning(all)
	p.prober.see(live)
	p.crashLoops.see(live, time.Now())
	p.ailing(live)
	p.mindPorts(live)
	return live, nil
}

// byPod sorts containers by Podman's name for their pod.
func byPod(all []container) map[string]*livePod {
	live := map[string]*livePod{}
	for _, c := range all {
		if c.PodName == "" {
			continue
		}
		l := live[c.PodName]
		if l == nil {
			l = &livePod{name: c.PodName}
			live[c.PodName] = l
		}
		if c.IsInfra {
			l.infra = &c
			continue
		}
		l.containers = append(l.containers, c)
		if l.labels == nil || c.Labels[labelOwner] == owner {
			l.labels = c.Labels
		}
	}
	for _, l := range live {
		slices.SortFunc(l.containers, func(a, b container) int { return cmp.Compare(a.name(l.name), b.name(l.name)) })
	}
	return live
}

// A condition is how a wanted pod is.
type condition int

const (
	well     condition = iota
	settling           // a container has just ended, and Podman starts or removes it: starting it here would reset its count of restarts
	absent             // Podman has no such pod
	notOurs            // it has one of that name that isn't Collie's
	broken             // containers are missing: the pod has to be made again
	down               // containers that should run don't
	hollow             // its network, or a process that Podman believes in, is gone: all of it has to be started again
)

// examine tells how a wanted pod is, and why it isn't well.
func (p *Podman) examine(ctx context.Context, want RenderedPod, l *livePod) (condition, []string, error) {
	if want.Job != nil {
		how, ill := p.jobCondition(want, l)
		return how, ill, nil
	}
	if l == nil {
		return absent, []string{"is gone"}, nil
	}
	if l.labels == nil { // no container is left to tell whose it is
		info, err := p.inspectPod(ctx, want.id())
		switch {
		case err != nil:
			return 0, nil, err
		case info == nil:
			return absent, []string{"is gone"}, nil
		}
		l.labels = info.Labels
	}
	if !l.ours() {
		return notOurs, []string{fmt.Sprintf("isn't Collie's: the Podman pod %s has no label %s=%s; rename or remove it", l.name, labelOwner, owner)}, nil
	}
	var missing []string
	for _, name := range want.Containers {
		if l.find(want.id()+"-"+name) == nil {
			missing = append(missing, "container "+name+" is gone")
		}
	}
	if l.infra == nil {
		missing = append(missing, "its infra container is gone")
	}
	if len(missing) > 0 {
		return broken, missing, nil
	}
	return p.examineContainers(ctx, want, l)
}

// examineContainers is examine of a pod of which all containers are there.
func (p *Podman) examineContainers(ctx context.Context, want RenderedPod, l *livePod) (condition, []string, error) {
	how, ill := well, []string(nil)
	worse := func(c condition, says string) {
		how = max(how, c)
		ill = append(ill, says)
	}
	running := false
	for _, name := range want.Containers {
		c := l.find(want.id() + "-" + name)
		switch {
		case p.isGhost(*c):
			fate, err := p.fate(ctx, *c)
			switch {
			case err != nil:
				return 0, nil, err
			case fate == hollow:
				worse(hollow, "the process of container "+name+" is gone, which Podman doesn't know")
			default:
				worse(settling, "container "+name+" has just ended")
			}
		case c.State == "running":
			running = true
		default:
			verdict, err := p.ended(ctx, want.Restart, *c)
			if err != nil {
				return 0, nil, err
			}
			if verdict != well {
				worse(verdict, "container "+name+" "+cmp.Or(p.crashLoops.holds(c.ID, time.Now()), c.says()))
			}
		}
	}
	infra := hollow
	if l.infra.State == "running" {
		infra = well
		if p.isGhost(*l.infra) {
			var err error
			if infra, err = p.fate(ctx, *l.infra); err != nil {
				return 0, nil, err
			}
		}
	}
	if running && infra != well {
		worse(infra, "its network is gone: the infra container "+l.infra.says())
	}
	if running && how == well {
		if says := p.unpublished(l); says != "" {
			worse(hollow, says)
		}
	}
	return how, ill, nil
}

// settleTime is how long Podman is given to start a container again by its restart policy: it takes a tenth of a second.
const settleTime = 3 * time.Second

// ended reports whether a container that doesn't run has done all that its policy asks, will be started again by Podman, or is down.
func (p *Podman) ended(ctx context.Context, restart string, c container) (condition, error) {
	if p.crashLoops.holds(c.ID, time.Now()) != "" {
		return settling, nil
	}
	if c.State == "removing" && time.Since(time.Unix(c.ExitedAt, 0)) <= settleTime {
		return settling, nil // somebody removes the pod: it is made again when it is gone
	}
	if c.State != "exited" && c.State != "stopped" || c.cutOff() {
		return down, nil
	}
	switch {
	case restart == "Always", restart == "OnFailure" && c.ExitCode != 0:
		if time.Since(time.Unix(c.ExitedAt, 0)) > settleTime {
			return down, nil
		}
		state, err := p.inspectContainer(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		if state.StoppedByUser {
			return down, nil
		}
		return settling, nil
	case c.ExitCode == 128+int(syscall.SIGKILL), c.ExitCode == 128+int(syscall.SIGTERM):
		// Somebody ended it; StoppedByUser doesn't tell, as Podman sets it on all that a finished pod has.
		state, err := p.inspectContainer(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		if !state.OOMKilled {
			return down, nil
		}
	}
	return well, nil
}

// Live returns Collie's pods as a baseline: it can be kept, started and stopped, but not made again. It has the pods that run,
// or did until the machine stopped, and those that died, as nobody else knows that they should run. Of several with the name
// of one object, of which none runs, it has the one that ran last.
func (p *Podman) Live(ctx context.Context) (Rendered, error) {
	live, err := p.observe(ctx)
	if err != nil {
		return Rendered{}, err
	}
	var r Rendered
	dead, alive := map[string]*livePod{}, map[string]bool{}
	add := func(l *livePod) {
		if pod, ok := l.rendered(); ok {
			r.Pods = append(r.Pods, pod)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		l := live[name]
		switch object := l.object(); {
		case !l.ours():
		case l.runs() || slices.ContainsFunc(l.containers, container.cutOff):
			alive[object] = true
			add(l)
		case l.died() && (dead[object] == nil || l.startedAt() > dead[object].startedAt()):
			dead[object] = l
		}
	}
	for _, object := range slices.Sorted(maps.Keys(dead)) {
		if !alive[object] {
			add(dead[object])
		}
	}
	return r, nil
}

// died reports whether a pod ran, and should still do so.
func (l *livePod) died() bool {
	if l.startedAt() == 0 || l.isRun() || strings.HasPrefix(l.labels[labelObject], "Job/") {
		return false
	}
	always := cmp.Or(l.labels[labelRestart], "Always") == "Always"
	return slices.ContainsFunc(l.containers, func(c container) bool { return !c.runs() && (always || c.ExitCode != 0) })
}

// rendered reads a pod back from its labels.
func (l *livePod) rendered() (RenderedPod, bool) {
	kind, name, _ := strings.Cut(l.labels[labelObject], "/")
	pod := RenderedPod{Name: name, Kind: kind, Hash: l.labels[labelHash], Restart: cmp.Or(l.labels[labelRestart], "Always"),
		HostPorts: l.hostPorts(), Writes: l.writes(), HostNetwork: l.labels[labelPorts] != "", Options: manifests.Options{Stays: l.labels[labelPrune] == "disabled"}}
	if pod.Forwarding = l.forwarding(); pod.Forwarding != nil {
		pod.HostPorts = nil
	}
	if pod.id() != l.name {
		return RenderedPod{}, false // whatever bears our labels under another name isn't what they say
	}
	if i := strings.LastIndexByte(l.labels[labelSource], ':'); i > 0 {
		pod.File = l.labels[labelSource][:i]
		pod.Line, _ = strconv.Atoi(l.labels[labelSource][i+1:]) // 0 where someone else wrote the label
	}
	for _, c := range l.containers {
		pod.Containers = append(pod.Containers, c.name(l.name))
	}
	return pod, true
}

func (l *livePod) hostPorts() []manifests.HostPort {
	if l.infra == nil {
		return nil
	}
	ports := readPorts(l.labels[labelPorts])
	for _, m := range l.infra.Ports {
		for i := range max(1, min(m.Range, 1<<16)) {
			ports = append(ports, manifests.HostPort{IP: m.HostIP, Port: m.HostPort + i, Protocol: strings.ToUpper(m.Protocol)})
		}
	}
	return ports
}
