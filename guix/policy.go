package guix

import (
	"fmt"
	"slices"
	"strings"

	"example.org/collie/shepherd"
)

// A Policy says when a running service gets a definition that changed. One that left the configuration is stopped all
// the same, as Guix does.
type Policy string

const (
	Restart Policy = "restart" // in the switch
	Defer   Policy = "defer"   // when somebody asks for it, or at the next boot
	Never   Policy = "never"   // at the next boot
	Reboot  Policy = "reboot"  // at the next boot, and the machine is said to need one
)

// Policies are all policies, the mildest first. A service has the strictest of its own and of those of services that would stop
// with it.
var Policies = []Policy{Restart, Defer, Never, Reboot}

func (p Policy) stricterThan(other Policy) bool {
	return slices.Index(Policies, p) > slices.Index(Policies, other)
}

// usual are the services that aren't restarted unless the configuration says so. A name with a * stands for all names
// with that beginning.
var usual = []struct {
	name   string
	policy Policy
	why    string
	fatal  bool // stopping it stops the machine, so no configuration may ask for that
	stays  bool // stopping it does so much harm that it continues even if it left the configuration
}{
	{"root", Reboot, holdsMachine, true, true}, // PID 1 itself
	{"shepherd", Reboot, holdsMachine, true, true},
	{"root-file-system", Reboot, holdsMachine, true, true}, // all depends on them
	{"file-systems", Reboot, holdsMachine, true, true},
	{"user-file-systems", Reboot, holdsMachine, true, true},
	{"user-processes", Reboot, holdsMachine, true, true}, // to stop it kills every process
	{"file-system-*", Reboot, inUse, true, false},
	{"device-mapping-*", Reboot, inUse, true, false},
	{"swap-*", Reboot, inUse, false, false},
	{"udev", Reboot, holdsMachine, false, true}, // all that looks for a device, or logs in, needs them
	{"pam", Reboot, holdsMachine, false, true},
	{"dbus-system", Defer, "sessions end with it", false, true},
	{"elogind", Defer, "sessions end with it", false, true},
	{"seatd", Defer, "sessions end with it", false, false},
	{"term-*", Defer, inUse, false, false},
	{"xorg-server*", Defer, inUse, false, false},
	{"x11-display", Defer, inUse, false, false},
	{"gdm", Defer, inUse, false, false},
	{"sddm", Defer, inUse, false, false},
	{"lightdm", Defer, inUse, false, false},
	{"slim", Defer, inUse, false, false},
	{"greetd*", Defer, inUse, false, false},
	{"podman-pods", Defer, "the pods stop with it", false, true}, // that is all it does
	{"collie-forward", Defer, "connections to pods end with it", false, true},
}

const (
	holdsMachine = "the machine can't run without it"
	inUse        = "somebody may be using it"
)

// CheckPolicy says what is wrong with a policy for a service.
func CheckPolicy(service string, p Policy) error {
	if !slices.Contains(Policies, p) {
		return fmt.Errorf("%q is no policy: write restart, defer, never or reboot", p)
	}
	for _, u := range usual {
		if u.fatal && like(service, u.name) && Never.stricterThan(p) {
			return fmt.Errorf("to stop it takes the machine down: write never or reboot, or leave it out")
		}
	}
	return nil
}

func like(service, pattern string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(service, prefix)
	}
	return service == pattern
}

// ownPolicy is a service's own, and why it isn't restarted.
func (s *services) ownPolicy(live shepherd.Service) (Policy, string) {
	for _, name := range live.Provides {
		if p, set := s.policies[name]; set {
			return p, "the machine's configuration says " + string(p)
		}
	}
	for _, u := range usual {
		if like(live.Name, u.name) {
			return u.policy, u.why
		}
	}
	return Restart, ""
}

// policy is what happens to a service whose definition changed: to restart it stops all that depends on it.
func (s *services) policy(live shepherd.Service, all []shepherd.Service) (Policy, string) {
	p, why := s.ownPolicy(live)
	for _, d := range dependents(live, all) {
		if d.Name == s.self && Never.stricterThan(p) {
			p, why = Never, d.Name+" requires it"
		}
		if below, _ := s.ownPolicy(d); below.stricterThan(p) {
			p, why = below, d.Name+" requires it"
		}
	}
	return p, why
}

// stays returns why a service continues although it left the configuration; nothing if it can be stopped.
func (s *services) stays(live shepherd.Service, all []shepherd.Service) string {
	for i, d := range append([]shepherd.Service{live}, dependents(live, all)...) { // to stop a service stops them first
		for _, u := range usual {
			switch {
			case !like(d.Name, u.name):
			case i == 0 && u.stays:
				return u.why
			case i > 0 && u.policy != Restart:
				return d.Name + " requires it"
			}
		}
		if d.Name == s.self {
			return d.Name + " requires it"
		}
	}
	return ""
}

// change is what a policy makes of a definition that changed.
func (p Policy) change(live shepherd.Service, why string) Change {
	subject, says := "service "+live.Name, "its definition changed; "+why
	switch p {
	case Defer:
		return Change{deferred, subject, says + "; waits for `collie restart` or the next boot"}
	case Reboot:
		return Change{needsReboot, subject, says}
	}
	return Change{nextBoot, subject, says}
}
