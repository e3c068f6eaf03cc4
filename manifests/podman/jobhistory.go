package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"example.org/collie/agent/statefile"
)

// A jobHistory has what Podman can't tell of Jobs: that one ran whose pod is gone, how often it was tried, what it wrote.
// It is on disk before anything is done for which it would be missed. Where it is lost, the pods tell what they can.
type jobHistory struct {
	mu    sync.Mutex
	file  string // none: it is lost with the process
	state jobHistoryState
	busy  map[string]bool // runs for which something is being done
	stir  chan struct{}   // a mailbox of one: something may be due
}

type jobHistoryState struct {
	Runs  map[string]*run     `json:"runs,omitempty"`  // by Podman's name of the pod
	Crons map[string]*cronJob `json:"crons,omitempty"` // by name
}

const (
	remembered = 30 * 24 * time.Hour // a run that no revision names any more
	busyPoll   = 20 * time.Millisecond
)

func newJobHistory() *jobHistory {
	return &jobHistory{state: jobHistoryState{Runs: map[string]*run{}, Crons: map[string]*cronJob{}}, busy: map[string]bool{}, stir: make(chan struct{}, 1)}
}

// Remember keeps what becomes of Jobs in file, and reads what is there. With an error nothing may be switched: Jobs might run
// again, and the file would be written over.
func (p *Podman) Remember(file string) error {
	j := p.jobs
	j.mu.Lock()
	defer j.mu.Unlock()
	j.file = file
	state, err := statefile.Read[jobHistoryState](file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what is known of Jobs: %w", err)
	}
	maps.Copy(j.state.Runs, state.Runs)
	maps.Copy(j.state.Crons, state.Crons)
	return nil
}

// Check returns what makes no sense in a job history.
func (s jobHistoryState) Check() error {
	for _, r := range s.Runs {
		if r == nil || r.Pod.Job == nil {
			return errors.New("it has a run of no Job")
		}
	}
	for _, c := range s.Crons {
		if c == nil || c.Pod.Job == nil || c.Pod.Cron == nil {
			return errors.New("it has a CronJob without its schedule")
		}
	}
	return nil
}

// WriteAgain writes what is known of Jobs, and the inventory, as their files were removed.
func (p *Podman) WriteAgain() error {
	j, v := p.jobs, &p.inventory
	j.mu.Lock()
	defer j.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.known || v.file == "" {
		return j.save()
	}
	return errors.Join(j.save(), statefile.WriteJSON(v.file, v.state))
}

// save writes the job history, whole or not at all. The caller holds mu.
func (j *jobHistory) save() error {
	select {
	case j.stir <- struct{}{}:
	default:
	}
	if j.file == "" {
		return nil
	}
	data, err := json.Marshal(j.state)
	if err != nil {
		return fmt.Errorf("writing down what is known of Jobs: %w", err)
	}
	if err := statefile.Write(j.file, data); err != nil {
		return fmt.Errorf("writing %s: %w", j.file, err)
	}
	return nil
}

// get returns a copy.
func (j *jobHistory) get(id string) (run, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.state.Runs[id]
	if !ok {
		return run{}, false
	}
	return *r, true
}

// crons are copies of all CronJobs, by name.
func (j *jobHistory) crons() map[string]cronJob {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := map[string]cronJob{}
	for name, c := range j.state.Crons {
		all[name] = *c
	}
	return all
}

// runs are copies of all, by name.
func (j *jobHistory) runs() []run {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []run
	for _, id := range slices.Sorted(maps.Keys(j.state.Runs)) {
		all = append(all, *j.state.Runs[id])
	}
	return all
}

// change does something to a run, if there is one, and writes it down.
func (j *jobHistory) change(id string, do func(r *run)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.state.Runs[id]
	if !ok {
		return nil
	}
	do(r)
	return j.save()
}

// edit does something to all that is known, and writes it down if that says so.
func (j *jobHistory) edit(do func(s *jobHistoryState) (changed bool)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !do(&j.state) {
		return nil
	}
	return j.save()
}

// claim takes a run, so that nobody else does anything for it until it is released.
func (j *jobHistory) claim(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.busy[id] {
		return false
	}
	j.busy[id] = true
	return true
}

func (j *jobHistory) release(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.busy, id)
	select {
	case j.stir <- struct{}{}:
	default:
	}
}

// claimed waits until it has claimed a run.
func (j *jobHistory) claimed(ctx context.Context, id string) error {
	for !j.claim(id) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPoll):
		}
	}
	return nil
}
