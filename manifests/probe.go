package manifests

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/tree"
)

// Probes are what one container is asked, as Kubernetes defines it. Collie asks, not Podman: Podman's own documents have no
// probe, and one that changes makes no new pod. All of them are asked as they are now from the next look on.
//
//	probe           while it has never passed              when it fails failureThreshold times in a row
//	startupProbe    the two others wait                    the container is restarted
//	livenessProbe   nothing                                the container is restarted
//	readinessProbe  the pod isn't ready                    the pod isn't ready, until it passes successThreshold times
//
// A pod that isn't ready doesn't let its revision become good; that of a Job is asked nothing.
type Probes struct {
	Container string `json:"name"`
	Startup   *Probe `json:"startupProbe,omitempty"`
	Liveness  *Probe `json:"livenessProbe,omitempty"`
	Readiness *Probe `json:"readinessProbe,omitempty"`
}

// A Probe is one question with its manners, in Kubernetes' words: a plan shows them. It has exactly one of the first four.
type Probe struct {
	Exec      *ExecProbe `json:"exec,omitempty"`
	HTTPGet   *HTTPProbe `json:"httpGet,omitempty"`
	TCPSocket *TCPProbe  `json:"tcpSocket,omitempty"`
	GRPC      *GRPCProbe `json:"grpc,omitempty"`

	Delay     int  `json:"initialDelaySeconds,omitempty"` // since the container started
	Period    int  `json:"periodSeconds"`                 // from start to start
	Timeout   int  `json:"timeoutSeconds"`
	Successes int  `json:"successThreshold"`
	Failures  int  `json:"failureThreshold"`
	Grace     *int `json:"terminationGracePeriodSeconds,omitempty"` // of the container that fails; nil: the pod's

	Line int `json:"line,omitempty"` // in the pod's file
}

// An ExecProbe passes if the command exits with 0.
type ExecProbe struct {
	Command []string `json:"command"`
}

// An HTTPProbe passes with a status from 200 to 399.
type HTTPProbe struct {
	Port    int          `json:"port"`
	Path    string       `json:"path,omitempty"`
	Host    string       `json:"host,omitempty"` // an IP address, in the pod's network; with hostNetwork any name. Empty: the pod itself
	Scheme  string       `json:"scheme,omitempty"`
	Headers []HTTPHeader `json:"httpHeaders,omitempty"`
}

type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A TCPProbe passes if something listens.
type TCPProbe struct {
	Port int    `json:"port"`
	Host string `json:"host,omitempty"`
}

// A GRPCProbe passes if the service of grpc.health.v1 says SERVING.
type GRPCProbe struct {
	Port    int    `json:"port"`
	Service string `json:"service,omitempty"`
}

const mostAsked = 120 // characters of what a probe asks for

// String is what is asked, as a person reads it.
func (p *Probe) String() string {
	switch {
	case p.Exec != nil:
		return "exec " + foreign.Cut(strings.Join(p.Exec.Command, " "), mostAsked)
	case p.HTTPGet != nil:
		path, https := p.HTTPGet.Path, ""
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		if p.HTTPGet.Scheme == "HTTPS" {
			https = " by HTTPS"
		}
		return fmt.Sprintf("GET %s on %s%s", foreign.Cut(path, mostAsked), portOn(p.HTTPGet.Host, p.HTTPGet.Port), https)
	case p.TCPSocket != nil:
		return "TCP " + portOn(p.TCPSocket.Host, p.TCPSocket.Port)
	case p.GRPC != nil && p.GRPC.Service != "":
		return fmt.Sprintf("gRPC health of %s on port %d", foreign.Cut(p.GRPC.Service, mostAsked), p.GRPC.Port)
	case p.GRPC != nil:
		return fmt.Sprintf("gRPC health on port %d", p.GRPC.Port)
	}
	return "nothing"
}

func portOn(host string, port int) string {
	if host == "" {
		return "port " + strconv.Itoa(port)
	}
	return fmt.Sprintf("port %d of %s", port, host)
}

func (p *Probe) InitialDelay() time.Duration { return time.Duration(p.Delay) * time.Second }
func (p *Probe) Interval() time.Duration     { return time.Duration(p.Period) * time.Second }

// mostStartup is how long a container may be about its start before a startupProbe has failed for good.
func (p *Probe) MaxStartup() time.Duration {
	return p.InitialDelay() + time.Duration(p.Failures)*max(p.Interval(), time.Duration(p.Timeout)*time.Second)
}

// The kinds of probes, in the order in which they begin.
var probeKinds = []string{"startupProbe", "livenessProbe", "readinessProbe"}

// WithoutLines is the part of probes that distinguishes states.
func (p Probes) WithoutLines() Probes {
	for _, one := range []**Probe{&p.Startup, &p.Liveness, &p.Readiness} {
		if *one != nil {
			bare := **one
			bare.Line = 0
			*one = &bare
		}
	}
	return p
}

// probes takes the probes out of a pod's containers, and checks what the table can't know.
func (b *checker) probes(p *podDocument) []Probes {
	var all []Probes
	list, _ := p.raw["containers"].([]any)
	for i, item := range list {
		c, _ := item.(map[string]any)
		one := Probes{Container: tree.Str(c, "name")}
		for _, kind := range probeKinds {
			raw, ok := c[kind].(map[string]any)
			if !ok {
				continue
			}
			delete(c, kind)
			field := fmt.Sprintf("containers[%d].%s", i, kind)
			if p.kind == "Job" || p.kind == "CronJob" {
				b.note(p.field("%s", field), "ignored: a Job is judged by its exit code; activeDeadlineSeconds ends one that hangs")
				continue
			}
			probe := b.probe(p, &p.spec.Containers[i], raw, field)
			switch kind {
			case "startupProbe":
				one.Startup = probe
			case "livenessProbe":
				one.Liveness = probe
			default:
				one.Readiness = probe
			}
		}
		if one.Startup != nil || one.Liveness != nil || one.Readiness != nil {
			all = append(all, one)
		}
	}
	return all
}

// probe reads one that the table has checked.
func (b *checker) probe(p *podDocument, c *podContainer, raw map[string]any, field string) *Probe {
	at := func(below string) place { return p.field("%s.%s", field, below) }
	for _, how := range []string{"httpGet", "tcpSocket"} {
		action := tree.Section(raw, how)
		if name, ok := action["port"].(string); ok {
			action["port"] = b.portNamed(c, name, at(how+".port"))
		}
		host := tree.Str(action, "host")
		if _, err := netip.ParseAddr(host); host != "" && err != nil && !p.spec.HostNetwork {
			b.wrong(at(how+".host"), "leave it out: the pod itself is asked; the name that it goes by can be in httpHeaders, as Host",
				"%q is not an IP address, and names aren't known in the pod's network", shorten(host))
		}
	}
	get := tree.Section(raw, "httpGet")
	if u, err := url.Parse(tree.Str(get, "path")); err != nil || u.Opaque != "" {
		b.wrong(at("httpGet.path"), "begin it with /", "%q is not the path of a URL", shorten(tree.Str(get, "path")))
	}
	probe := &Probe{Period: 10, Timeout: 1, Successes: 1, Failures: 3, Line: p.field("%s", field).line}
	recode(raw, probe)
	return probe
}

// portNamed is the number of a container's port, or 0 with a mistake.
func (b *checker) portNamed(c *podContainer, name string, at place) int {
	var names []string
	for _, port := range c.Ports {
		if port.Name == name && port.Name != "" {
			return port.ContainerPort
		}
		names = append(names, port.Name)
	}
	hint := "write its number, or add it to the container's ports"
	if _, guess := mistake.Guess(name, names); guess != "" {
		hint = guess
	}
	b.wrong(at, hint, "the container has no port %q", name)
	return 0
}
