package podman

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"example.org/collie/manifests"
)

// askers is how many containers are asked at a time. A probe that waits for its turn keeps its schedule. One that hangs costs only
// its own timeout.
const askers = 16

// A prober runs the probes of containers. It learns the probes from Switch and Heal, and the containers from each look at live
// pods. Each life of a container is probed from its beginning.
type prober struct {
	ask  func(context.Context, life, *manifests.Probe) error // nil: it passed
	end  func(context.Context, life, time.Duration) error
	tell func(says string, attributes ...any) // of what is done
	wake func()                               // when a pod gets ready, or isn't any more

	agenda *agenda

	mu   sync.Mutex
	pods map[string]*probedPod // by Podman's name
}

// A probedPod is one with probes.
type probedPod struct {
	want       RenderedPod
	wanted     bool // by the newest; else it is forgotten once it has ended
	gone       bool // it is being stopped
	containers []*probedContainer
}

// A probedContainer is a container with probes, and the life of it that is asked.
type probedContainer struct {
	manifests.Probes
	life
	startup, liveness, readiness *probing
}

// A life of a container goes from a start to an end.
type life struct {
	pod, container string // as users know them
	id             string // the container's; empty: it doesn't run
	pid, infra     int    // of its first process, and of that which holds the pod's network
	onMachine      bool   // its network is the machine's, as the repository says
	started        time.Time
	grace          time.Duration
}

// A probing is one probe of one life.
type probing struct {
	*manifests.Probe
	entry
	kind   string
	known  bool // it was asked often enough to tell
	passed bool
	row    int  // how often in a row it was
	ok     bool // so
	says   string
}

func newProber() *prober {
	return &prober{agenda: newAgenda(askers), pods: map[string]*probedPod{},
		tell: func(string, ...any) {}, wake: func() {}}
}

// follow takes over the probes of r. Those of other pods are kept until the pods have ended.
func (pr *prober) follow(r Rendered) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, pod := range pr.pods {
		pod.wanted = false
	}
	for _, want := range r.Pods {
		if len(want.Probes) == 0 || want.Job != nil {
			continue
		}
		old := pr.pods[want.id()]
		if old != nil && reflect.DeepEqual(withoutLines(old.want.Probes), withoutLines(want.Probes)) {
			old.want, old.wanted = want, true
			continue
		}
		pod := &probedPod{want: want, wanted: true}
		if old != nil {
			old.drop(pr.agenda)
			pod.gone = old.gone
		}
		for _, probes := range want.Probes {
			pod.containers = append(pod.containers, &probedContainer{Probes: probes})
		}
		pr.pods[want.id()] = pod
	}
	for _, want := range r.Pods {
		if old := pr.pods[want.id()]; old != nil && !old.wanted {
			old.drop(pr.agenda) // it has no probes any more
			delete(pr.pods, want.id())
		}
	}
}

func withoutLines(all []manifests.Probes) []manifests.Probes {
	var bare []manifests.Probes
	for _, one := range all {
		bare = append(bare, one.WithoutLines())
	}
	return bare
}

// leave asks a pod nothing any more, as it is being stopped, and come asks again once it is seen to run.
func (pr *prober) leave(id string) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pod := pr.pods[id]; pod != nil {
		pod.drop(pr.agenda)
		pod.gone = true
	}
}

func (pr *prober) come(id string) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pod := pr.pods[id]; pod != nil {
		pod.gone = false
	}
}

// see takes over what is live.
func (pr *prober) see(live map[string]*livePod) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, id := range slices.Collect(maps.Keys(pr.pods)) {
		pod, l := pr.pods[id], live[id]
		if !pod.wanted && (l == nil || !l.runs()) {
			pod.drop(pr.agenda)
			delete(pr.pods, id)
			continue
		}
		if pod.gone {
			continue
		}
		for _, c := range pod.containers {
			now := pod.lifeOf(c, id, l)
			if now.id == c.id && now.pid == c.pid {
				continue
			}
			c.drop(pr.agenda)
			if c.life = now; now.id != "" {
				pr.begin(c)
			}
		}
	}
}

// lifeOf is the present life of a container.
func (pod *probedPod) lifeOf(c *probedContainer, id string, l *livePod) life {
	if l == nil || l.infra == nil {
		return life{}
	}
	found := l.find(id + "-" + c.Container)
	if found == nil || found.State != "running" || found.Pid == 0 {
		return life{}
	}
	return life{pod: pod.want.Name, container: c.Container, id: found.ID, pid: found.Pid, infra: l.infra.Pid,
		onMachine: pod.want.HostNetwork, started: time.Unix(found.StartedAt, 0), grace: pod.want.grace()}
}

// begin asks a new life of a container: about its start first, if it has such a probe.
func (pr *prober) begin(c *probedContainer) {
	make := func(kind string, p *manifests.Probe) *probing {
		if p == nil {
			return nil
		}
		one := &probing{Probe: p, kind: kind, passed: kind == "livenessProbe", says: "it wasn't asked yet"}
		now := c.life
		one.do = func(ctx context.Context) { pr.judge(ctx, c, now, one, pr.ask(ctx, now, p)) }
		return one
	}
	c.startup, c.liveness, c.readiness = make("startupProbe", c.Startup), make("livenessProbe", c.Liveness), make("readinessProbe", c.Readiness)
	if c.startup != nil {
		pr.first(c, c.startup)
		return
	}
	pr.goOn(c)
}

// goOn asks what is asked of a container that has started.
func (pr *prober) goOn(c *probedContainer) {
	for _, one := range []*probing{c.liveness, c.readiness} {
		if one != nil {
			pr.first(c, one)
		}
	}
}

func (pr *prober) first(c *probedContainer, one *probing) {
	at := c.started.Add(one.InitialDelay())
	if now := time.Now(); at.Before(now) {
		at = now
	}
	pr.agenda.set(&one.entry, at)
}

// judge takes an answer, and asks again in time, however long the answer took.
func (pr *prober) judge(ctx context.Context, c *probedContainer, asked life, one *probing, err error) {
	if ctx.Err() != nil {
		return
	}
	if pr.count(c, asked, one, err) {
		grace := asked.grace
		if one.Grace != nil {
			grace = time.Duration(*one.Grace) * time.Second
		}
		pr.tell("a container is restarted", "pod", asked.pod, "container", asked.container,
			"because", fmt.Sprintf("its %s failed %d times: %s: %v", one.kind, one.Failures, one.Probe, err))
		if err := pr.end(ctx, asked, grace); err != nil {
			pr.tell("a container can't be restarted", "pod", asked.pod, "container", asked.container, "err", err)
			pr.agenda.set(&one.entry, time.Now().Add(one.Interval()))
		}
	}
}

// count reports whether the container has to end.
func (pr *prober) count(c *probedContainer, asked life, one *probing, err error) (ends bool) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if c.life != asked {
		return false // it lives no more
	}
	if ok := err == nil; ok != one.ok || one.row == 0 {
		one.ok, one.row = ok, 0
	}
	one.row++
	was := one.passed && one.known
	switch {
	case err == nil && one.row >= one.Successes:
		one.known, one.passed, one.says = true, true, ""
	case err != nil && one.row >= one.Failures:
		one.known, one.passed, one.says = true, false, err.Error()
	case err != nil && !one.passed:
		one.says = err.Error()
	}
	if was != (one.passed && one.known) && one.kind != "livenessProbe" {
		pr.wake()
	}
	switch {
	case one.kind == "startupProbe" && one.known && one.passed:
		pr.goOn(c)
		return false
	case one.kind != "readinessProbe" && one.known && !one.passed:
		c.drop(pr.agenda) // what comes next is another life
		return true
	}
	next := one.at.Add(one.Interval())
	if now := time.Now(); next.Before(now) { // those that were due meanwhile are left out
		next = next.Add(now.Sub(next).Truncate(one.Interval()) + one.Interval())
	}
	pr.agenda.set(&one.entry, next)
	return false
}

// unready returns what isn't ready in a running pod, as its probes report. known: they were asked often enough.
func (pr *prober) unready(id string) (why string, known bool) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	pod := pr.pods[id]
	if pod == nil {
		return "", true
	}
	for _, c := range pod.containers {
		if c.Startup == nil && c.Readiness == nil {
			continue
		}
		if c.id == "" {
			return fmt.Sprintf("container %s wasn't asked yet whether it is ready", c.Container), false
		}
		for _, one := range []*probing{c.startup, c.readiness} {
			if one != nil && !(one.known && one.passed) {
				state := "isn't ready"
				if one.kind == "startupProbe" {
					state = "hasn't started"
				}
				return fmt.Sprintf("container %s %s: %s: %s", c.Container, state, one.Probe, one.says), one.known
			}
		}
	}
	return "", true
}

func (pod *probedPod) drop(a *agenda) {
	for _, c := range pod.containers {
		c.drop(a)
	}
}

// drop ends what is asked of this life.
func (c *probedContainer) drop(a *agenda) {
	for _, one := range []*probing{c.startup, c.liveness, c.readiness} {
		if one != nil {
			a.drop(&one.entry)
		}
	}
	c.life, c.startup, c.liveness, c.readiness = life{}, nil, nil, nil
}
