package guix

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"example.org/collie/shepherd"
)

// A Change is one difference between what is wanted and what is live.
type Change struct {
	Does    string // switch, link, register, start, stop, restart, run; or one of those that wait
	Subject string // service nginx
	Says    string
}

// Actions of a Change that no switch takes, because they would stop what runs the machine, or what people use.
const (
	nextBoot    = "next boot"    // takes effect then
	needsReboot = "needs reboot" // takes effect at the next boot, which should come
	deferred    = "defer"        // takes effect then, or when somebody asks for it
	bootLoader  = "boot loader"  // the subject of such a change that is about the boot menu
	OwnExit     = "replace"      // of the agent's own service: Shepherd starts the new definition once the agent has ended
)

// Waits reports whether no switch makes c: a target is live although such a change is left.
func (c Change) Waits() bool {
	return slices.Contains([]string{nextBoot, needsReboot, deferred, OwnExit, Leaves}, c.Does)
}

// A Problem is something that isn't well.
type Problem struct {
	Subject string   // service nginx
	Says    string   // in one line
	Details []string // the last lines that it wrote
}

// services makes the services of one Shepherd those of a system or home item.
//
//	a service                                   what happens
//	file unchanged, runs                        nothing; its process continues
//	file changed, runs                          restarted, with what depends on it
//	file changed, one-shot                      run again
//	file changed, another policy, or below such "defer", "next boot", "needs reboot"
//	file changed, the agent's own               "replace"
//	should run and doesn't                      started; first enabled, if the file changed or Shepherd had given up
//	ran before, and was stopped on the way      started
//	left the configuration, the agent's own     "leave"
//	left the configuration                      stopped and unloaded, unless the policy keeps it, or it hangs
//	disabled, failing, dies; file unchanged     a problem, no change
//
// Services depend on each other by what Shepherd says of those that run, not by what a file will say.
type services struct {
	shepherd    *shepherd.Client
	started     string                                   // file that keeps from which file each service was started
	roots       Roots                                    // keep those files, where no system that is kept has them any more; empty: nowhere
	self        string                                   // the agent's own service
	idle        []string                                 // end well when nobody asks; Shepherd listens for them
	policies    map[string]Policy                        // by service, where they aren't the usual ones
	timeout     time.Duration                            // within which a service stops, or starts
	definitions func(item string) ([]ServiceFile, error) // of a system, or of a home
	store       Store
	theirs      bool                                           // a user chooses what is live: of what can't be read no service is known
	live        func() (string, error)                         // the item that is current
	booted      func() (string, error)                         // the item whose services Shepherd began with; the current one, for a user's
	former      func() []ServiceFile                           // of all generations there are; nil: none
	tail        func(ctx context.Context, log string) []string // the last lines of a service's log
	vigil       *Vigil                                         // over this Shepherd; nil: none
	does        func(pid int) string                           // the kernel's letter for what a process does; nil: its own
	asked       string                                         // what Shepherd was asked to do last, in this switch; empty: nothing
	whole       bool                                           // Shepherd has no other services: those of unknown origin leave as well. A user may have some
}

// A step is one thing to do with one service.
type step struct {
	Change
	name, file string // the service's
}

// diff says what converge would do, for one question to Shepherd; it changes nothing.
func (s *services) diff(ctx context.Context, item string) ([]Change, error) {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return nil, err
	}
	changes := append(orphans(kept.Left), kept.unfinished()...)
	for _, st := range s.plan(files, all, kept) {
		changes = append(changes, st.Change)
	}
	return changes, nil
}

// found are the services of an item that was found on the machine, rather than made for a revision.
func (s *services) found(item string) ([]ServiceFile, error) {
	files, err := s.definitions(item)
	if err != nil && s.theirs {
		return nil, nil
	}
	return files, err
}

// survey reads what the item wants, what Shepherd has, and from which files it has it.
func (s *services) survey(ctx context.Context, item string) ([]ServiceFile, []shepherd.Service, started, error) {
	files, err := s.definitions(item)
	if err != nil {
		return nil, nil, started{}, err
	}
	all, err := s.listening(ctx)
	if errors.Is(err, shepherd.ErrUnreachable) && len(files) == 0 {
		return nil, nil, started{}, nil // a home without services: its user's Shepherd isn't needed
	}
	if err != nil {
		return nil, nil, started{}, err
	}
	kept, err := s.look(all)
	return files, all, kept, err
}

// plan compares: it does nothing and asks nobody. Steps are in the order in which they can be made.
func (s *services) plan(files []ServiceFile, all []shepherd.Service, kept started) []step {
	return slices.Concat(s.leaving(files, all, kept), s.changed(files, all, kept), s.missing(files, all, kept))
}

// leaving are the services that files don't define any more; what depends on another of them comes before it.
func (s *services) leaving(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, live := range slices.Backward(inOrder(all)) {
		if live.Transient || live.Name == "root" || fileOf(files, live) != "" {
			continue
		}
		if e, _ := kept.of(live.Name); e.File == "" && !s.whole {
			continue // the user's own
		}
		does, says := "stop", "it left the configuration"
		if live.Name == s.self {
			does, says = Leaves, says+"; the agent goes once all is quiet"
		} else if reason := s.stays(live, all); reason != "" {
			does, says = nextBoot, says+"; "+reason
		} else if s.hangs(live) {
			does, says = nextBoot, says+", and is "+s.how(live)
		}
		steps = append(steps, step{Change{does, "service " + live.Name, says}, live.Name, ""})
	}
	return steps
}

// changed are the services whose file isn't the one they were started from; what another requires comes before it.
func (s *services) changed(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, live := range inOrder(all) {
		file := fileOf(files, live)
		e, _ := kept.of(live.Name)
		if file == "" || live.Name == "root" || e.File == file {
			continue
		}
		subject, says := "service "+live.Name, "its definition changed"
		switch {
		case live.Name == s.self && live.Status == "running":
			steps = append(steps, step{Change{OwnExit, subject, says + "; the agent ends when nothing is in progress, and is restarted"}, live.Name, file})
		case live.OneShot && wanted(files, live) && !failed(live):
			steps = append(steps, step{Change{"run", subject, says}, live.Name, file})
		case live.Status != "running" || live.OneShot:
		default:
			if p, why := s.policy(live, all); p != Restart {
				steps = append(steps, step{p.change(live, why), live.Name, file})
				continue
			}
			if below := dependents(live, all); len(below) > 0 {
				says += "; restarted too, as they require it: " + strings.Join(namesOf(below), ", ")
			}
			steps = append(steps, step{Change{"restart", subject, says}, live.Name, file})
		}
	}
	return steps
}

// missing are the services that files start, and that don't run for no reason that is known.
func (s *services) missing(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, f := range files {
		live, known := find(all, f)
		e, _ := kept.of(live.Name)
		says := "it doesn't run"
		switch {
		case !f.Starts:
			continue
		case !known:
			says = "new"
		case live.OneShot || live.Status != "stopped":
			continue
		case e.File != f.File && e.File != "":
			says = "it doesn't run, and its definition changed"
		case !live.Enabled || live.Died() || failed(live):
			continue // a problem
		}
		steps = append(steps, step{Change{"start", "service " + f.Name, says}, f.Name, f.File})
	}
	return steps
}

// failed reports whether the last try to start a service failed.
func failed(s shepherd.Service) bool {
	return s.Status == "stopped" && len(s.StartupFailures) > 0 && !s.StartupFailures[0].Before(startOf(s))
}

// wanted reports whether files start live by themselves.
func wanted(files []ServiceFile, live shepherd.Service) bool {
	return slices.ContainsFunc(files, func(f ServiceFile) bool { return f.Starts && f.defines(live) })
}

func find(all []shepherd.Service, f ServiceFile) (shepherd.Service, bool) {
	if i := slices.IndexFunc(all, f.defines); i >= 0 {
		return all[i], true
	}
	return shepherd.Service{}, false
}

func namesOf(all []shepherd.Service) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

// byName finds services by each of their names.
func byName(all []shepherd.Service) map[string]shepherd.Service {
	index := make(map[string]shepherd.Service, len(all))
	for _, s := range all {
		for _, name := range s.Provides {
			index[name] = s
		}
	}
	return index
}

// dependents are the running services that stop if s does, the nearest first.
func dependents(s shepherd.Service, all []shepherd.Service) []shepherd.Service {
	index, require := byName(all), map[string][]shepherd.Service{}
	for _, other := range all {
		if other.Status != "running" {
			continue
		}
		for _, name := range other.Requires {
			if below, known := index[name]; known {
				require[below.Name] = append(require[below.Name], other)
			}
		}
	}
	found, seen := []shepherd.Service{}, map[string]bool{s.Name: true}
	for queue := []string{s.Name}; len(queue) > 0; queue = queue[1:] {
		for _, other := range require[queue[0]] {
			if !seen[other.Name] {
				seen[other.Name] = true
				found, queue = append(found, other), append(queue, other.Name)
			}
		}
	}
	return found
}

// inOrder puts what is required before what requires it.
func inOrder(all []shepherd.Service) []shepherd.Service {
	index, seen := byName(all), map[string]bool{}
	ordered := make([]shepherd.Service, 0, len(all))
	var add func(shepherd.Service)
	add = func(s shepherd.Service) {
		if seen[s.Name] {
			return
		}
		seen[s.Name] = true
		for _, name := range s.Requires {
			if other, known := index[name]; known {
				add(other)
			}
		}
		ordered = append(ordered, s)
	}
	for _, s := range all {
		add(s)
	}
	return ordered
}
