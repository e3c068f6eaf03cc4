package podman

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// A Handover is how a next pod takes the place of what runs.
//
//	what the next pod needs                     handover
//	nothing that another running pod holds      Beside: it runs and is ready before the old one stops
//	a host port that an old or leaving one has  PortMoves: that one lets go of it, then the next one starts
//	a volume to write to                        StopFirst: the old one has ended, with its grace, before the next starts
type Handover int

const (
	Beside Handover = iota
	PortMoves
	StopFirst
)

// A handover is how, and because of what.
type handover struct {
	Handover
	of    string // the port, the volume
	waits bool   // who comes meanwhile waits: the forwarder takes connections
}

func (h handover) String() string {
	switch h.Handover {
	case PortMoves:
		return h.of + " closed about 0.2 s"
	case StopFirst:
		says := "stopped first: " + h.of + " is mounted read-write"
		if h.waits {
			says += "; connections wait meanwhile"
		}
		return says
	}
	return "no interruption"
}

// handOver settles for each step what has to stop before its pod starts.
func (todo *plan) handOver() {
	for i := range todo.steps {
		s := &todo.steps[i]
		for _, l := range s.previous {
			if len(s.pod.Writes) > 0 {
				s.after(l, handover{StopFirst, s.pod.Writes[0], s.pod.Forwarding != nil})
			}
			if s.pod.HostNetwork { // who knows what it listens on
				s.after(l, handover{PortMoves, "the machine's network", false})
			}
			if s.pod.Job != nil { // its old self mustn't do the same work in parallel
				s.stopBefore = append(s.stopBefore, l)
			}
			s.afterPorts(l)
		}
		for _, l := range todo.leaving { // such as this pod under another name
			for _, what := range s.pod.Writes {
				if slices.Contains(l.writes(), what) {
					s.after(l, handover{StopFirst, what, s.pod.Forwarding != nil})
				}
			}
			s.afterPorts(l)
		}
		for j, other := range todo.steps {
			if i == j {
				continue
			}
			for _, l := range other.previous {
				if s.afterPorts(l) && todo.steps[j].Handover < PortMoves {
					todo.steps[j].handover = s.handover // its old self gives way to this one
				}
			}
		}
	}
}

// after makes l stop before the step's pod starts.
func (s *step) after(l *livePod, h handover) {
	if !slices.Contains(s.stopBefore, l) {
		s.stopBefore = append(s.stopBefore, l)
	}
	if h.Handover > s.Handover {
		s.handover = h
	}
}

// afterPorts makes l stop first if it has a host port that the step's pod needs.
func (s *step) afterPorts(l *livePod) bool {
	if port, is := l.forwarding().has(s.pod.HostPorts); is { // Podman is to publish it from now on
		s.after(l, handover{PortMoves, fmt.Sprintf("host port %d", port.Port), false})
		return true
	}
	for _, held := range l.hostPorts() {
		for _, port := range s.pod.takes() {
			if held.Port == port.Port && held.Protocol == port.Protocol {
				s.after(l, handover{PortMoves, fmt.Sprintf("host port %d", port.Port), false})
				return true
			}
		}
	}
	return false
}

// portList writes ports for a label, and readPorts reads them.
func portList(ports []manifests.HostPort) string {
	var all []string
	for _, p := range ports {
		all = append(all, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return strings.Join(all, ",")
}

func readPorts(list string) []manifests.HostPort {
	var all []manifests.HostPort
	for one := range strings.SplitSeq(list, ",") {
		number, protocol, _ := strings.Cut(one, "/")
		if n, err := strconv.Atoi(number); err == nil {
			all = append(all, manifests.HostPort{Port: n, Protocol: protocol})
		}
	}
	return all
}

// fails reports whether a pod is beyond what a graceful end is for: something of it crashed.
func (l *livePod) fails() bool {
	return slices.ContainsFunc(l.containers, func(c container) bool {
		return c.Restarts >= tooManyRestarts || !c.runs() && c.ExitCode != 0 && !c.cutOff() && c.State != "created"
	})
}

// writes are the volumes that a live pod can write to, as its label says.
func (l *livePod) writes() []string {
	if l.labels[labelWrites] == "" {
		return nil
	}
	return strings.Split(l.labels[labelWrites], ",")
}

// written is what outlives the pod of spec and can be written to by it: volumes of claims, and what it mounts of the
// machine, but for sockets and devices.
func written(spec map[string]any) []string {
	what := map[string]string{}
	for v := range tree.Objects(spec, "volumes") {
		claim, host := tree.Section(v, "persistentVolumeClaim"), tree.Section(v, "hostPath")
		switch {
		case claim != nil:
			what[tree.Str(v, "name")] = "volume " + tree.Str(claim, "claimName")
		case host != nil && tree.Str(host, "type") != "Socket" && tree.Str(host, "type") != "CharDevice":
			what[tree.Str(v, "name")] = tree.Str(host, "path")
		}
	}
	var all []string
	for c := range tree.Objects(spec, "initContainers", "containers") {
		for m := range tree.Objects(c, "volumeMounts") {
			if w := what[tree.Str(m, "name")]; w != "" && m["readOnly"] != true && !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	slices.Sort(all)
	return all
}
