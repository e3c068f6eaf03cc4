package guix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/statefile"
	"example.org/collie/shepherd"
)

// Shepherd doesn't report from which file a service was started: to register a file changes nothing of what runs, and
// pending-replacement? is true for every service after any reconfigure. So it is kept, for each service:
//
//	Shepherd                        the service            its file
//	was never checked               any                    the one of the system that is current
//	was restarted (a boot)          any                    the booted system's, else the current one's
//	is the same                     wasn't started since   as it was kept
//	is the same, no switch is open  was started since      the current one's
//	is the same, a switch is open   is new, is a one-shot  the one that is coming
//	is the same, a switch is open   was started since      the coming one if that is equal to the kept one, else unknown
//	any                             is of no file so far   that of a former home, as Guix lets run what left a home
type started struct {
	Boot     string           `json:"boot"`             // which life of Shepherd
	Coming   string           `json:"coming,omitempty"` // the item whose files are being registered; none when all is done
	Services []startedService `json:"services"`

	Family family   `json:"family,omitzero"` // of a user's Shepherd
	Left   []family `json:"left,omitempty"`  // by former ones: processes that still run
}

type startedService struct {
	Name    string    `json:"name"`
	File    string    `json:"file,omitempty"`
	Since   time.Time `json:"since"` // when it was started last
	Running bool      `json:"running,omitempty"`
	Why     string    `json:"why,omitempty"` // it was to be started, and wasn't
	Log     string    `json:"log,omitempty"` // Shepherd forgets it as soon as the service stops
}

// unknown is the file of a service that was started in the midst of a switch: it differs from every other.
const unknown = "?"

// look reads what is kept and brings it up to date with the services that Shepherd has. It writes nothing.
func (s *services) look(all []shepherd.Service) (started, error) {
	kept, err := readStarted(s.started)
	if err != nil {
		return started{}, err
	}
	now := started{Boot: life(all), Coming: kept.Coming, Family: familyOf(all, s.self)}
	now.Left = kept.left(now.Family)
	if s.vigil != nil {
		s.vigil.keep(now.Family.Shepherd)
	}
	item, err := s.live()
	if err != nil {
		return started{}, err
	}
	current, err := s.found(item)
	if err != nil {
		return started{}, err
	}
	first, coming := current, []ServiceFile(nil)
	var former []ServiceFile
	switch {
	case kept.Boot == now.Boot && kept.Coming != "":
		if coming, err = s.definitions(kept.Coming); err != nil {
			coming = nil // it is gone from the store: nothing that was started since then is known
		}
	case kept.Boot != now.Boot:
		now.Coming = ""
		if kept.Boot != "" {
			if first, err = s.fromBoot(); err != nil {
				return started{}, err
			}
		}
	}
	for _, live := range all {
		if live.Transient || live.Name == "root" {
			continue
		}
		e := startedService{Name: live.Name, Since: startOf(live), Running: live.Status == "running"}
		old, known := kept.of(live.Name)
		switch {
		case kept.Boot != now.Boot:
			e.File = fileOf(first, live)
			if e.File == "" {
				e.File = fileOf(current, live)
			}
		case known && (e.Since.Equal(old.Since) || e.Since.IsZero()): // registered again, it has no history
			e.File, e.Since, e.Why = old.File, old.Since, old.Why
		case kept.Coming == "":
			e.File = fileOf(current, live)
		case !known:
			if e.File = fileOf(coming, live); e.File == "" {
				e.File = fileOf(current, live)
			}
		case live.OneShot || old.File == fileOf(coming, live):
			e.File = fileOf(coming, live)
		default:
			e.File = unknown
		}
		if e.File == "" && s.former != nil {
			if former == nil {
				former = s.former()
			}
			e.File = fileOf(former, live)
		}
		if live.OneShot && failed(live) {
			e.File = "" // it is to run again, as soon as Shepherd has forgotten that it failed
		}
		if now.Coming != "" && known {
			e.Running = e.Running || old.Running // as it was before the switch
		}
		e.Log = old.Log
		if len(live.LogFiles) > 0 {
			e.Log = live.LogFiles[0]
		}
		now.Services = append(now.Services, e)
	}
	return now, nil
}

// readStarted reads what is kept; of a file that makes no sense, as if there were none.
func readStarted(file string) (started, error) {
	kept, err := statefile.Load[started](file)
	if err != nil {
		return started{}, fmt.Errorf("reading from which files services were started: %w", err)
	}
	return kept, nil
}

// fromBoot are the files that Shepherd itself was started with.
func (s *services) fromBoot() ([]ServiceFile, error) {
	item, err := s.booted()
	if err != nil {
		return nil, err
	}
	return s.found(item)
}

func (k started) of(name string) (startedService, bool) {
	i := slices.IndexFunc(k.Services, func(e startedService) bool { return e.Name == name })
	if i < 0 {
		return startedService{}, false
	}
	return k.Services[i], true
}

// unfinished is the change that is left of a switch: Shepherd may hold any of two definitions of what hasn't started since.
func (k started) unfinished() []Change {
	if k.Coming == "" {
		return nil
	}
	return []Change{{"register", "services", "a switch to " + hash(k.Coming) + " is under way, or was cut short"}}
}

// save makes k what is kept.
func (s *services) save(k started) error {
	slices.SortFunc(k.Services, func(a, b startedService) int { return strings.Compare(a.Name, b.Name) })
	if err := statefile.WriteJSON(s.started, k); err != nil {
		return fmt.Errorf("keeping from which files services were started: %w", err)
	}
	return s.keepFiles(k)
}

// keepFiles keeps, by GC roots, the files of running services that the live item doesn't define so any more, as their
// policy defers it: Shepherd starts what dies from what such a file names, long after the item it was of is collected.
func (s *services) keepFiles(k started) error {
	if s.roots == "" {
		return nil
	}
	item, err := s.live()
	if err != nil {
		return err
	}
	current, err := s.found(item)
	if err != nil {
		return err
	}
	prefix, needed := "service:"+filepath.Base(s.started)+":", map[string]bool{}
	for _, e := range k.Services {
		if !e.Running || slices.ContainsFunc(current, func(f ServiceFile) bool { return f.File == e.File }) {
			continue
		}
		if _, err := os.Lstat(e.File); err != nil {
			continue // not known, or gone
		}
		root := prefix + filepath.Base(e.File)
		needed[root] = true
		if err := s.roots.Keep(root, e.File); err != nil {
			return err
		}
	}
	all, err := s.roots.List()
	for root := range all {
		if strings.HasPrefix(root, prefix) && !needed[root] {
			err = errors.Join(err, s.roots.Drop(root))
		}
	}
	return err
}

// saveIfNew is save, unless that is kept already.
func (s *services) saveIfNew(k started) error {
	text, _ := os.ReadFile(s.started)
	slices.SortFunc(k.Services, func(a, b startedService) int { return strings.Compare(a.Name, b.Name) })
	if now, err := json.Marshal(k); err == nil && bytes.Equal(now, text) {
		return nil
	}
	return s.save(k)
}

// startOf is when a service was last started, also if that failed, and also by a respawn.
func startOf(s shepherd.Service) time.Time {
	for _, c := range s.Changes {
		if c.Status == "starting" {
			return c.At
		}
	}
	return time.Time{}
}

// life names one life of a Shepherd: a boot or, for a user's, its own start.
func life(all []shepherd.Service) string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it, process and time must do
	name := strings.TrimSpace(string(boot))
	for _, s := range all {
		if s.Name == "root" { // boot_id alone is the host's in a container, the time alone may repeat where no clock runs
			name += fmt.Sprintf(" %d@%d", s.PID, startOf(s).Unix())
		}
	}
	return name
}
