package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Change is one difference between a target and what is live.
type Change struct {
	Does    string `json:"does"`    // create, replace, restart, start, stop, run, add, remove, update, next boot, needs reboot, defer
	Subject string `json:"subject"` // service nginx, pod web, package git, /etc/motd
	Says    string `json:"says,omitempty"`
	Waits   bool   `json:"waits,omitempty"` // it is left for now, though the target is live
	Boot    bool   `json:"boot,omitempty"`  // the machine is to be rebooted for it
	Back    bool   `json:"back,omitempty"`  // it leads a channel to an earlier commit, or to one on another line of history
	// In a plan:
	Cost string `json:"cost,omitempty"` // what becomes of what runs: CostRunning, CostBoot; nothing: it isn't touched
	Old  string `json:"old,omitempty"`  // what there is: a version, a shell
	New  string `json:"new,omitempty"`  // what there will be
	Diff string `json:"diff,omitempty"` // of texts, unified
}

// The costs of a Change.
const (
	CostRunning = "running" // something that runs is stopped, or starts
	CostBoot    = "boot"    // the next boot makes it
)

func (c Change) String() string {
	text := c.Does + " " + c.Subject
	for _, more := range []string{c.values(), c.Says} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// values are what there is and what there will be.
func (c Change) values() string {
	switch {
	case c.Old == "":
		return c.New
	case c.New == "":
		return c.Old
	}
	return c.Old + " → " + c.New
}

// A Problem is something that isn't well.
type Problem struct {
	Layer   string   `json:"layer,omitempty"`
	Subject string   `json:"subject"`
	Says    string   `json:"says"`
	Details []string `json:"details,omitempty"` // the last lines that it wrote
	Stands  []string `json:"-"`                 // on these subjects: a change of one counts as a change of its own

	Transient bool `json:"transient,omitempty"` // it may yet end well: until then no revision is good
	Unrelated bool `json:"unrelated,omitempty"` // no revision is to blame that didn't change its subject
}

func (p Problem) String() string { return p.Subject + ": " + p.Says }

// Status is all that `collie status` tells.
type Status struct {
	Version   string     `json:"version"`
	Host      string     `json:"host"`
	Phase     string     `json:"phase"` // idle, switching, soaking, rolling back, stuck
	Preparing *Preparing `json:"preparing"`
	Suspended *Suspended `json:"suspended"`
	Wanted    Wanted     `json:"wanted"`
	Source    Source     `json:"source"`
	Revisions Revisions  `json:"revisions"`
	Layers    []Layer    `json:"layers"`
	Pods      []Pod      `json:"pods"`
	Jobs      []Job      `json:"jobs,omitempty"`
	CronJobs  []CronJob  `json:"cronJobs,omitempty"`
	Failed    []Failed   `json:"failed"` // the newest, if it did
	Problems  []Problem  `json:"problems"`
	Others    []Other    `json:"others,omitempty"`
	Held      string     `json:"held,omitempty"` // why the newest waits: it would take back what someone else did, or no window is open
	Notes     []string   `json:"notes,omitempty"`

	Without []Without `json:"without,omitempty"` // layers that the newest revision is deployed without, for now

	Waits []Wait `json:"waits,omitempty"` // of layers at work, if an answer takes long

	Incomplete string `json:"incomplete,omitempty"` // what isn't well since the last roll-back
}

// Preparing is the preparation in flight, or the one that waits to be tried again.
type Preparing struct {
	Revision string    `json:"revision"`
	Since    time.Time `json:"since"`
	Progress Progress  `json:"progress"`
	Error    string    `json:"error,omitempty"`    // of the last attempt
	Retry    time.Time `json:"retry,omitzero"`     // when it is tried again
	WaitsFor []string  `json:"waitsFor,omitempty"` // substitutes of these, by name: they would be built here, and are too many
}

// Evaluates reports whether the newest revision is being evaluated again, though it was prepared before.
func (s Status) Evaluates() bool {
	return s.Preparing != nil && s.Preparing.Error == "" && s.Preparing.Revision == s.Revisions.Newest
}

// Progress is how far a preparation is: what the layer is at that told last, and how much is done of what Guix said so far
// that it will do, for all layers.
type Progress struct {
	Layer     string `json:"layer,omitempty"`
	Item      string `json:"item,omitempty"`
	Builds    Count  `json:"builds,omitzero"`
	Downloads Count  `json:"downloads,omitzero"`
	Bytes     Count  `json:"bytes,omitzero"` // of the downloads
}

// A Count is how much of something is done.
type Count struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// Suspended says since when nothing new is switched to, and why.
type Suspended struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why,omitempty"`
}

// Wanted says where the machine belongs, and why.
type Wanted struct {
	Revision string `json:"revision"`
	Because  string `json:"because"`
}

// Source is the repository that is followed.
type Source struct {
	URL      string    `json:"url"`
	Branch   string    `json:"branch"`
	LastPoll time.Time `json:"lastPoll"`
	Error    string    `json:"error,omitempty"`
	Answered string    `json:"answered,omitempty"` // the URL that told the newest commit: its own, or a mirror's
	Wrong    []Wrong   `json:"wrong,omitempty"`    // what is wrong with the others
}

// Wrong is what is wrong with one of several repositories.
type Wrong struct {
	URL  string `json:"url"`
	Says string `json:"says"`
}

// Revisions are full commit ids, or "baseline".
type Revisions struct {
	Newest  string `json:"newest"`
	Current string `json:"current"`
	Good    string `json:"good"`
}

// A Layer compares what is live with the current target.
type Layer struct {
	Name    string   `json:"name"`
	InSync  bool     `json:"inSync"`
	Changes []Change `json:"changes,omitempty"`
	Drift   *Drift   `json:"drift,omitempty"` // someone else switched it
	Error   string   `json:"error,omitempty"`
}

// Drift is what someone else made of a system or home, which is left until the next commit.
type Drift struct {
	Generation int       `json:"generation"` // 0: no generation names it
	Item       string    `json:"item"`
	Since      time.Time `json:"since"`
	Where      string    `json:"where,omitempty"` // of a system: what runs, what the profile is at, and what the next boot begins
}

func (d Drift) String() string {
	what := "generation " + strconv.Itoa(d.Generation)
	if d.Generation == 0 {
		what = d.Item
	}
	says := "at " + what + ", to which someone else switched on " + d.Since.Local().Format(time.DateTime)
	if d.Where != "" {
		says += " (" + d.Where + ")"
	}
	return says
}

// A Wait is whom the work on a layer has been waiting for, for some seconds at least.
type Wait struct {
	Layer string    `json:"layer"`
	For   string    `json:"for"`
	Since time.Time `json:"since"`
}

func (w Wait) String() string {
	return fmt.Sprintf("%s: for %s, since %s", w.Layer, w.For, ago(w.Since))
}

// A Without is a layer that a revision is deployed without, for reasons that lie with a user, or as somebody asked.
type Without struct {
	Layer    string    `json:"layer"`
	Revision string    `json:"revision"` // the commit
	Why      string    `json:"why"`
	By       string    `json:"by,omitempty"` // who asked for it
	Since    time.Time `json:"since"`
	Next     time.Time `json:"next,omitzero"` // when it is tried again; none: with the next commit, or `collie retry`
}

func (w Without) String() string {
	next := "by itself at " + w.Next.Local().Format(time.DateTime)
	if w.Next.IsZero() {
		next = "with the next commit, or by `collie retry`"
	}
	return fmt.Sprintf("left out of revision %s since %s, and tried again %s: %s", Short(w.Revision), w.Since.Local().Format(time.DateTime), next, w.Why)
}

// An Other is a guix that someone else runs, for which a switch waits.
type Other struct {
	PID   int       `json:"pid"`
	User  string    `json:"user"`
	Since time.Time `json:"since"`
	Runs  string    `json:"runs"`
	Layer string    `json:"layer,omitempty"` // the one whose switch waits for it; none: each
}

// A Pod is one pod of the current revision.
type Pod struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Restarts int    `json:"restarts"`
	Revision string `json:"revision"` // that made it
	Note     string `json:"note,omitempty"`
}

// A Job is one Job of the current revision.
type Job struct {
	Name  string    `json:"name"`
	Hook  string    `json:"hook,omitempty"` // when in a rollout it runs: before, after, failure
	State string    `json:"state"`          // waits, running, completed, failed, suspended
	Tries int       `json:"tries"`          // that were begun
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	Exit  int       `json:"exitCode,omitempty"`
	Says  string    `json:"says,omitempty"` // why the last try failed
	Log   []string  `json:"log,omitempty"`  // the last lines that it wrote
	Next  time.Time `json:"next,omitzero"`  // when it is tried again
}

// Text tells how a job is.
func (j Job) Text() string {
	var text string
	switch {
	case j.State == "waits" && j.Tries == 0 && j.Hook != "":
		text = "hook of rollouts: " + j.Hook
	case j.State == "running":
		text = "running since " + ago(j.Began)
	case j.State == "completed":
		text = "completed " + ago(j.Ended)
	case j.State == "failed":
		text = fmt.Sprintf("failed %s: %s", ago(j.Ended), j.Says)
	case !j.Next.IsZero():
		text = fmt.Sprintf("failed %s: %s; tried again in %s", ago(j.Ended), j.Says, max(0, time.Until(j.Next)).Round(time.Second))
	case j.Says != "":
		text = j.State + ": " + j.Says
	default:
		text = j.State
	}
	if j.Tries > 1 {
		text += fmt.Sprintf(", %d tries", j.Tries)
	}
	if len(j.Log) > 0 {
		text += "\n| " + strings.Join(j.Log, "\n| ")
	}
	return text
}

// A CronJob is one CronJob of the current revision.
type CronJob struct {
	Name      string    `json:"name"`
	Schedule  string    `json:"schedule"`
	TimeZone  string    `json:"timeZone,omitempty"` // none: the machine's
	Suspended bool      `json:"suspended,omitempty"`
	Next      time.Time `json:"next,omitzero"`
	Running   int       `json:"running"`
	Last      *CronRun  `json:"last,omitempty"` // that was begun
}

// A CronRun is one run of a CronJob.
type CronRun struct {
	Scheduled time.Time `json:"scheduled"`
	Job
}

// Text tells how a CronJob is.
func (c CronJob) Text() string {
	text := c.Schedule
	if c.TimeZone != "" {
		text += " " + c.TimeZone
	}
	switch {
	case c.Suspended:
		text += ", suspended"
	case !c.Next.IsZero():
		text += ", next " + c.Next.Local().Format("2006-01-02 15:04")
	}
	if c.Last != nil {
		text += "; that of " + c.Last.Scheduled.Local().Format("2006-01-02 15:04") + " " + c.Last.Job.Text()
	}
	return text
}

// Failed is a revision that isn't tried again until there is a newer one, or somebody asks for it.
type Failed struct {
	Revision string    `json:"revision"`
	Outcome  string    `json:"outcome"` // rejected, rolled back; before that is over: rolling back, stuck
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// PhaseRollingBack is the phase in which all layers go to the last good revision.
const PhaseRollingBack = "rolling back"

// The two outcomes of a revision that failed.
const (
	OutcomeRejected   = "rejected"    // it has a mistake, and was never switched to
	OutcomeRolledBack = "rolled back" // it was live, at least in part
)

// Plan is what a switch would change: to the revision that waits, or to that of a branch plan/NAME.
type Plan struct {
	Name      string      `json:"name,omitempty"`
	Revision  string      `json:"revision"` // empty: nothing waits
	Because   string      `json:"because"`  // why it waits
	Layers    []PlanLayer `json:"layers"`
	Preparing *Preparing  `json:"preparing,omitempty"` // of the plan, so its layers aren't known yet; or of a revision that is newer than the one that waits
	Rejected  string      `json:"rejected,omitempty"`  // of a named one: why it can't be deployed
	Plans     []Proposal  `json:"plans,omitempty"`     // the branches plan/NAME that there are
}

// A Proposal is a branch plan/NAME.
type Proposal struct {
	Name     string `json:"name"`
	Revision string `json:"revision"`
	Author   string `json:"author,omitempty"`
	Subject  string `json:"subject,omitempty"`
	State    string `json:"state"`          // one of those below
	Says     string `json:"says,omitempty"` // why it is rejected or refused; how far its preparation is
}

// The states of a Proposal.
const (
	PlanPreparing = "preparing"
	PlanPrepared  = "prepared" // it can be shown
	PlanRejected  = "rejected"
	PlanRefused   = "refused"
)

// PlanLayer are the changes of one layer.
type PlanLayer struct {
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
	Work    Work     `json:"work,omitzero"`     // what there was to do, to prepare it
	Unknown string   `json:"unknown,omitempty"` // why not all that would change is known
}

// Work is what Guix had to build and download.
type Work struct {
	Builds    int64 `json:"builds,omitempty"`
	Downloads int64 `json:"downloads,omitempty"`
	Bytes     int64 `json:"bytes,omitempty"` // of the downloads, if that is known
}

// Pending reports whether the plan would change anything, as far as that is known: what waits for a boot since an earlier
// switch is none of its doing.
func (p Plan) Pending() bool {
	if p.Preparing != nil {
		return true
	}
	return slices.ContainsFunc(p.Layers, func(l PlanLayer) bool {
		return slices.ContainsFunc(l.Changes, func(c Change) bool { return !c.Waits })
	})
}

// Unknown names the layers of which not all that would change is known.
func (p Plan) Unknown() (layers []string) {
	for _, l := range p.Layers {
		if l.Unknown != "" {
			layers = append(layers, l.Name)
		}
	}
	return layers
}

// Restarted is how a restart went that somebody asked for.
type Restarted struct {
	Service  string    `json:"service"`
	With     []string  `json:"with,omitempty"`     // what requires it, and so was stopped and started with it
	Problems []Problem `json:"problems,omitempty"` // of all these
}

// A Deployment is one entry of the history.
type Deployment struct {
	Revision string        `json:"revision"`
	Author   string        `json:"author,omitempty"`
	Subject  string        `json:"subject,omitempty"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration"` // nanoseconds, from the start of its preparation to its outcome
	Layers   []string      `json:"layers"`   // those that were switched
	Outcome  string        `json:"outcome"`  // good, rejected, rolled back, incomplete, superseded, stuck, accepted, underway; of what no commit did: drift, healing, healed, reboot
	Reason   string        `json:"reason,omitempty"`
	Because  string        `json:"because,omitempty"`

	Changes     map[string][]Change `json:"changes,omitempty"`     // what the switch changed, or began to, by layer
	Without     map[string]string   `json:"without,omitempty"`     // layers that it is good without, with the reasons
	Images      map[string]string   `json:"images,omitempty"`      // digests of the registries' manifests, by the names that its pods have for them
	Moved       []string            `json:"moved,omitempty"`       // files of users' own that its switch moved, and where each is
	Generations map[string]int      `json:"generations,omitempty"` // where it ended, of system and homes, as long as Guix has them
}

// A Generation is one of Guix's, of a system or a home.
type Generation struct {
	Layer    string    `json:"layer"`
	Number   int       `json:"number"`
	Item     string    `json:"item"`
	Since    time.Time `json:"since"`              // when Guix, or someone, gave it the number
	Profile  bool      `json:"profile,omitempty"`  // the profile is at it
	Running  bool      `json:"running,omitempty"`  // it is live
	NextBoot bool      `json:"nextBoot,omitempty"` // of a system: the boot menu begins it if nobody chooses

	Revision string `json:"revision,omitempty"` // the commit that made it; "": it isn't Collie's, or it was there before the first commit
	Author   string `json:"author,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Verdict  string `json:"verdict,omitempty"` // good, underway, former, rolled back, baseline; "": someone else made it
	Reason   string `json:"reason,omitempty"`  // why it was rolled back
}

// Synced answers a sync: the newest revision that was accepted.
type Synced struct {
	Revision string `json:"revision"`
}
