package layers

import (
	"context"
	"errors"
	"io"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
	"example.org/collie/manifests/podman"
)

// Moves reports whether the tag of an image may lead elsewhere by now.
func (l podsLayer) Moves(t rollout.Target) bool {
	var r podman.Rendered
	return t.Decode(&r) == nil && r.Moves()
}

func (l podsLayer) Images(t rollout.Target) map[string]string {
	var r podman.Rendered
	if t.Decode(&r) != nil {
		return nil
	}
	return r.Digests()
}

// mostNotes is how many notes are logged; `collie validate` names all.
const mostNotes = 20

// podsDir is where a repository has its pods.
const podsDir = "pods"

// podsLayer makes a layer of the user's pods.
type podsLayer struct {
	*podman.Podman
	keys string // the folder of the machine's keys
}

// Pods is the layer of a user's pods; keys is the folder of the machine's keys.
func Pods(p *podman.Podman, keys string) rollout.Layer { return podsLayer{p, keys} }

func (l podsLayer) Prepare(ctx context.Context, rev rollout.Revision, tell func(rollout.Progress)) (rollout.Target, error) {
	if rev.ID == rollout.Baseline {
		live, err := l.Live(ctx)
		if err != nil {
			return rollout.Target{}, &rollout.UserError{Err: err}
		}
		return rollout.Encode("pods", "pods-"+live.ID(), rollout.Baseline, live)
	}
	files := filesOf(rev)
	dirs := files.pods()
	if len(dirs) == 0 {
		return rollout.Target{}, rollout.ErrAbsent
	}
	private, closed, err := l.private(ctx, files)
	if err != nil {
		return rollout.Target{}, err
	}
	all, err := manifests.LoadWith(ctx, private, files.repository, dirs...)
	if wrong := append(closed, mistake.Of(err)...); len(wrong) > 0 {
		return rollout.Target{}, &rollout.BadError{Err: wrong.Sorted()}
	}
	if err != nil {
		return rollout.Target{}, err
	}
	for i, note := range all.Notes {
		if i == mostNotes {
			break
		}
		l.Log.Info("a note", "revision", rev.ID, "says", note.String())
	}
	cfg, err := readRepositoryConfig(files)
	if err != nil {
		return rollout.Target{}, &rollout.BadError{Err: err}
	}
	err = l.Guard(ctx, all, cfg.Prune)
	if refused := new(podman.PruneError); errors.As(err, &refused) {
		return rollout.Target{}, &rollout.BadError{Err: err}
	}
	if err != nil {
		return rollout.Target{}, ofPodman(err)
	}
	rendered, err := l.Podman.Prepare(ctx, all, rev.ID, func(says string) { tell(rollout.Progress{Item: says}) })
	if missing := new(podman.ImageError); errors.As(err, &missing) {
		return rollout.Target{}, &rollout.BadError{Err: err, Retriable: missing.Retriable}
	}
	if err != nil {
		return rollout.Target{}, ofPodman(err)
	}
	return rollout.Encode("pods", "pods-"+rendered.ID(), rev.ID, rendered)
}

// Check finds what is wrong with the manifests, and with the encrypted files of pods.
func (l podsLayer) Check(ctx context.Context, rev rollout.Revision) error {
	files := filesOf(rev)
	dirs := files.pods()
	if len(dirs) == 0 {
		return nil
	}
	private, wrong, err := l.private(ctx, files)
	if err != nil {
		return err
	}
	private.Partial = files.partial()
	_, err = manifests.Check(private, files.repository, dirs...)
	return append(wrong, mistake.Of(err)...).Err()
}

// ofPodman distinguishes failures of Podman, which are its user's, from those of a registry.
func ofPodman(err error) error {
	if broken := new(podman.EngineError); errors.As(err, &broken) {
		return &rollout.UserError{Err: err}
	}
	return err
}

func (l podsLayer) Diff(ctx context.Context, t rollout.Target) ([]rollout.Change, error) {
	return with(t, func(r podman.Rendered) ([]rollout.Change, error) {
		changes, err := l.Podman.Diff(ctx, r)
		return podChanges(changes), err
	})
}

// Look also has Podman's layer learn what it saw.
func (l podsLayer) Look(ctx context.Context, t rollout.Target, since time.Time) ([]rollout.Change, []rollout.Problem, error) {
	var r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return nil, nil, err
	}
	changes, problems, err := l.Podman.Look(ctx, r, since)
	return podChanges(changes), podProblems(problems), err
}

func podChanges(changes []podman.Change) (all []rollout.Change) {
	for _, c := range changes {
		all = append(all, rollout.Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Waits: c.Deferred})
	}
	return all
}

func podProblems(problems []podman.Problem) (all []rollout.Problem) {
	for _, p := range problems {
		all = append(all, rollout.Problem{Subject: p.Subject, Says: p.Says, Transient: p.Transient, Unrelated: p.Unrelated})
	}
	return all
}

// Plan returns the differences of each pod. Only those that are Harmless don't concern running pods.
func (l podsLayer) Plan(ctx context.Context, now, t rollout.Target) ([]rollout.Change, error) {
	var is, r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return nil, err
	}
	if now.ID != "" {
		if err := now.Decode(&is); err != nil {
			return nil, err
		}
	}
	changes, err := l.Podman.Plan(ctx, is, r)
	var all []rollout.Change
	for _, c := range changes {
		change := rollout.Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Diff: c.Diff, Cost: api.CostRunning}
		if c.Harmless {
			change.Cost = ""
		}
		all = append(all, change)
	}
	return all, err
}

func (l podsLayer) Switch(ctx context.Context, t rollout.Target) error {
	return l.do(ctx, t, l.Podman.Switch)
}

// Heal takes a pod at a time, and its time for one that has to be healed again and again.
func (l podsLayer) Heal(ctx context.Context, t rollout.Target) error {
	return l.do(ctx, t, l.Podman.Heal)
}

func (l podsLayer) do(ctx context.Context, t rollout.Target, what func(context.Context, podman.Rendered) error) error {
	var r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return err
	}
	return forgiveSilence(what(ctx, r))
}

func (l podsLayer) Release(ctx context.Context, now, t rollout.Target) (rollout.Target, error) {
	var is, r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return rollout.Target{}, err
	}
	if now.ID != "" {
		if err := now.Decode(&is); err != nil {
			return rollout.Target{}, err
		}
	}
	stopped, err := l.Podman.Release(ctx, r)
	if err != nil {
		return rollout.Target{}, forgiveSilence(err)
	}
	if now.ID == "" || len(stopped) == 0 {
		return now, nil
	}
	left := is.Without(stopped)
	return rollout.Encode("pods", "pods-left-"+left.ID(), now.Revision, left)
}

func (l podsLayer) Revive(ctx context.Context, t rollout.Target) error {
	return l.do(ctx, t, l.Podman.Revive)
}

func (l podsLayer) Before(ctx context.Context, t rollout.Target, rollout string) error {
	return holding(t, func(r podman.Rendered) error {
		return forgiveSilence(l.Podman.Before(ctx, r, rollout))
	})
}

func (l podsLayer) After(ctx context.Context, t rollout.Target, rollout string) error {
	return holding(t, func(r podman.Rendered) error {
		return forgiveSilence(l.Podman.After(ctx, r, rollout))
	})
}

func (l podsLayer) Failed(t rollout.Target, rollout string) error {
	return holding(t, func(r podman.Rendered) error {
		return l.Podman.Failed(r, rollout)
	})
}

// Vacant reports whether something that is no container has a port that a switch to t needs.
func (l podsLayer) Vacant(ctx context.Context, t rollout.Target) error {
	return holding(t, func(r podman.Rendered) error {
		err := l.Podman.Vacant(ctx, r)
		if taken := new(podman.TakenError); errors.As(err, &taken) {
			return &rollout.TakenError{Err: taken}
		}
		return err
	})
}

// forgiveSilence blames no commit where Podman didn't answer, or what forwards ports to pods, or where a program that is no
// container has what a pod needs.
func forgiveSilence(err error) error {
	silent, forwarder, taken := new(podman.SilentError), new(forward.Error), new(podman.TakenError)
	switch {
	case errors.As(err, &taken):
		return &rollout.TransientError{Err: &rollout.TakenError{Err: err}}
	case errors.As(err, &silent), errors.As(err, &forwarder):
		return &rollout.TransientError{Err: err}
	}
	return err
}

func (l podsLayer) Problems(ctx context.Context, t rollout.Target, since time.Time) ([]rollout.Problem, error) {
	return with(t, func(r podman.Rendered) ([]rollout.Problem, error) {
		problems, err := l.Podman.Problems(ctx, r, since)
		return podProblems(problems), err
	})
}

// Prune removes nothing while the pods are taken as they were found, as after a loss of state: what else is there may have been
// theirs.
func (l podsLayer) Prune(ctx context.Context, ts []rollout.Target) error {
	var all []podman.Rendered
	for _, t := range ts {
		var r podman.Rendered
		if err := t.Decode(&r); err != nil {
			return err
		}
		if t.Revision == rollout.Baseline && len(r.Pods) > 0 {
			return nil
		}
		all = append(all, r)
	}
	return l.Podman.Keep(ctx, all)
}

// Jobs lists the Jobs and CronJobs of t for the status.
func (l podsLayer) Jobs(t rollout.Target) (jobs []api.Job, crons []api.CronJob, err error) {
	var r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return nil, nil, err
	}
	for _, j := range l.Podman.Jobs(r) {
		jobs = append(jobs, api.Job(j))
	}
	for _, c := range l.Crons(r) {
		cron := api.CronJob{Name: c.Name, Schedule: c.Schedule, TimeZone: c.TimeZone, Suspended: c.Suspended, Next: c.Next, Running: c.Running}
		if c.Last != nil {
			cron.Last = &api.CronRun{Scheduled: c.Last.Scheduled, Job: api.Job(c.Last.JobStatus)}
		}
		crons = append(crons, cron)
	}
	return jobs, crons, nil
}

// Pods lists the pods of t for the status.
func (l podsLayer) Pods(ctx context.Context, t rollout.Target) ([]api.Pod, error) {
	return with(t, func(r podman.Rendered) ([]api.Pod, error) {
		list, err := l.List(ctx, r)
		var all []api.Pod
		for _, p := range list {
			all = append(all, api.Pod{Name: p.Name, Ready: p.Ready, Restarts: p.Restarts, Revision: p.Revision, Note: p.Note})
		}
		return all, err
	})
}

// AsUser is what `collie as-user VERB…` does, with the rights of a user.
func AsUser(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	known, err := podman.AsUser(args)
	if !known {
		return guix.AsUser(ctx, args, in, out)
	}
	if err == nil {
		_, err = io.WriteString(out, "{}")
	}
	return err
}
