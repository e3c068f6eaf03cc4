package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/mistake"
	"example.org/collie/guix"
	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
	"example.org/collie/manifests/podman"
)

// toldNotes is how many notes are logged; `collie validate` names all.
const toldNotes = 20

// podsDir is where a repository has its pods.
const podsDir = "pods"

// podsLayer makes a layer of the user's pods.
type podsLayer struct {
	*podman.Podman
	keys string // the folder of the machine's keys
}

func (l podsLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	if rev.ID == baseline {
		live, err := l.Live(ctx)
		if err != nil {
			return Target{}, &UserError{err}
		}
		return encode("pods", "pods-"+live.ID(), baseline, live)
	}
	dirs := rev.Files.pods()
	if len(dirs) == 0 {
		return Target{}, errAbsent
	}
	private, err := l.private(ctx, rev.Files)
	if err != nil {
		return Target{}, err
	}
	all, err := manifests.LoadWith(ctx, private, rev.Files.repository, dirs...)
	if wrong := mistake.Of(err); wrong != nil {
		return Target{}, &BadError{Err: wrong}
	}
	if err != nil {
		return Target{}, err
	}
	for i, note := range all.Notes {
		if i == toldNotes {
			break
		}
		l.Log.Info("a note", "revision", rev.ID, "says", note.String())
	}
	cfg, err := readRepositoryConfig(rev.Files)
	if err != nil {
		return Target{}, &BadError{Err: err}
	}
	err = l.Guard(ctx, all, cfg.Prune)
	if refused := new(podman.PruneError); errors.As(err, &refused) {
		return Target{}, &BadError{Err: err}
	}
	if err != nil {
		return Target{}, ofPodman(err)
	}
	rendered, err := l.Podman.Prepare(ctx, all, rev.ID, func(says string) { tell(Progress{Item: says}) })
	if missing := new(podman.ImageError); errors.As(err, &missing) {
		return Target{}, &BadError{Err: err, Waits: missing.Waits}
	}
	if err != nil {
		return Target{}, ofPodman(err)
	}
	return encode("pods", "pods-"+rendered.ID(), rev.ID, rendered)
}

// ofPodman tells what Podman doesn't do, which is its user's, from what a registry doesn't.
func ofPodman(err error) error {
	if broken := new(podman.EngineError); errors.As(err, &broken) {
		return &UserError{err}
	}
	return err
}

func (l podsLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return nil, err
	}
	changes, err := l.Podman.Diff(ctx, r)
	var all []Change
	for _, c := range changes {
		all = append(all, Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Waits: c.Waits})
	}
	return all, err
}

// Plan tells of each pod what differs; all but what is Quiet is of what runs.
func (l podsLayer) Plan(ctx context.Context, now, t Target) ([]Change, error) {
	var is, r podman.Rendered
	if err := decode(t, &r); err != nil {
		return nil, err
	}
	if now.ID != "" {
		if err := decode(now, &is); err != nil {
			return nil, err
		}
	}
	changes, err := l.Podman.Plan(ctx, is, r)
	var all []Change
	for _, c := range changes {
		change := Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Diff: c.Diff, Cost: api.CostRunning}
		if c.Quiet {
			change.Cost = ""
		}
		all = append(all, change)
	}
	return all, err
}

func (l podsLayer) Switch(ctx context.Context, t Target) error {
	return l.do(ctx, t, l.Podman.Switch)
}

// Heal takes a pod at a time, and its time for one that has to be healed again and again.
func (l podsLayer) Heal(ctx context.Context, t Target) error {
	return l.do(ctx, t, l.Podman.Heal)
}

func (l podsLayer) do(ctx context.Context, t Target, what func(context.Context, podman.Rendered) error) error {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return err
	}
	return forgiveSilence(what(ctx, r))
}

func (l podsLayer) Release(ctx context.Context, now, t Target) (Target, error) {
	var is, r podman.Rendered
	if err := decode(t, &r); err != nil {
		return Target{}, err
	}
	if now.ID != "" {
		if err := decode(now, &is); err != nil {
			return Target{}, err
		}
	}
	stopped, err := l.Podman.Release(ctx, r)
	if err != nil {
		return Target{}, forgiveSilence(err)
	}
	if now.ID == "" || len(stopped) == 0 {
		return now, nil
	}
	left := is.Without(stopped)
	return encode("pods", "pods-left-"+left.ID(), now.Revision, left)
}

func (l podsLayer) Revive(ctx context.Context, t Target) error {
	return l.do(ctx, t, l.Podman.Revive)
}

func (l podsLayer) Before(ctx context.Context, t Target, rollout string) error {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return err
	}
	return forgiveSilence(l.Podman.Before(ctx, r, rollout))
}

func (l podsLayer) After(ctx context.Context, t Target, rollout string) error {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return err
	}
	return forgiveSilence(l.Podman.After(ctx, r, rollout))
}

func (l podsLayer) Failed(t Target, rollout string) error {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return err
	}
	return l.Podman.Failed(r, rollout)
}

// Vacant reports whether something that is no container has a port that a switch to t needs.
func (l podsLayer) Vacant(ctx context.Context, t Target) error {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return err
	}
	return l.Podman.Vacant(ctx, r)
}

// forgiveSilence blames no commit where Podman didn't answer, or what forwards ports to pods, or where a program that is no
// container has what a pod needs.
func forgiveSilence(err error) error {
	silent, forwarder, taken := new(podman.SilentError), new(forward.Error), new(podman.TakenError)
	if errors.As(err, &silent) || errors.As(err, &forwarder) || errors.As(err, &taken) {
		return &TransientError{err}
	}
	return err
}

func (l podsLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return nil, err
	}
	problems, err := l.Podman.Problems(ctx, r, since)
	var all []Problem
	for _, p := range problems {
		all = append(all, Problem{Subject: p.Subject, Says: p.Says, Transient: p.Transient, Unrelated: p.Unrelated})
	}
	return all, err
}

// Keep removes nothing while the pods are taken as they were found, as after a loss of state: what else is there may have been
// theirs.
func (l podsLayer) Keep(ctx context.Context, ts []Target) error {
	var all []podman.Rendered
	for _, t := range ts {
		var r podman.Rendered
		if err := decode(t, &r); err != nil {
			return err
		}
		if t.Revision == baseline && len(r.Pods) > 0 {
			return nil
		}
		all = append(all, r)
	}
	return l.Podman.Keep(ctx, all)
}

// Jobs lists the Jobs and CronJobs of t for the status.
func (l podsLayer) Jobs(t Target) (jobs []api.Job, crons []api.CronJob, err error) {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
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
func (l podsLayer) Pods(ctx context.Context, t Target) ([]api.Pod, error) {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
		return nil, err
	}
	list, err := l.List(ctx, r)
	var all []api.Pod
	for _, p := range list {
		all = append(all, api.Pod{Name: p.Name, Ready: p.Ready, Restarts: p.Restarts, Revision: p.Revision, Note: p.Note})
	}
	return all, err
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
