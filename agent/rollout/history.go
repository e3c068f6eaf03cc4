package rollout

import (
	"slices"
	"time"

	"example.org/collie/agent/api"
)

// A chronicle makes a history of the entries of a journal.
type chronicle struct {
	all       []*api.Deployment
	open      map[string]*api.Deployment // by revision
	commits   map[string]entry           // what is known of them, by revision
	made      map[string]bool            // revisions that were prepared
	deploying string                     // the revision whose rollout is underway
	numbers   map[string]map[string]int  // of generations, by layer and item
}

// history returns the deployments in entries, newest first. numbers are the generations there are now, by layer and item:
// a number that was kept might name another item today, as Guix gives them again after going back.
func history(entries []entry, numbers map[string]map[string]int, now time.Time) []api.Deployment {
	h := &chronicle{open: map[string]*api.Deployment{}, commits: map[string]entry{}, made: map[string]bool{}, numbers: numbers}
	for _, e := range entries {
		h.add(e)
	}
	deployments := make([]api.Deployment, 0, len(h.all))
	for _, d := range slices.Backward(h.all) {
		if d.Outcome == "underway" {
			d.Duration = now.Sub(d.Started)
		}
		deployments = append(deployments, *d)
	}
	return deployments
}

func (h *chronicle) add(e entry) {
	switch e.Event {
	case evPreparing:
		h.commits[e.Revision] = e
		h.overtake(e, func(revision string, _ *api.Deployment) bool { return revision != h.deploying && !h.made[revision] })
		h.begin(e)
	case evPrepared:
		h.made[e.Revision] = true
		h.begin(e).Images = e.Images
	case evSwitching:
		d := h.begin(e)
		d.Because = e.Because
		h.overtake(e, func(_ string, older *api.Deployment) bool { return !older.Started.After(d.Started) })
		h.deploying = e.Revision
	case evLayer:
		if d := h.open[h.deploying]; d != nil && !slices.Contains(d.Layers, e.Layer) {
			d.Layers = append(d.Layers, e.Layer)
		}
	case evFailed:
		d := h.begin(e)
		d.Reason, d.Changes = e.Because, e.Changes
		if h.deploying != e.Revision { // it failed in prepare: nothing to take back
			h.end(e, api.OutcomeRejected)
		}
	case evRollingBack:
		if d := h.open[e.Revision]; d != nil && d.Reason == "" {
			d.Reason = e.Because
		}
	case evLater:
		h.begin(e).Reason = e.Because
	case evAccepted:
		h.commits[e.Revision] = e
		h.end(e, "accepted")
	case evGood, evRolledBack, evIncomplete, evStuck:
		h.conclude(e)
	case evDrift, evHealing, evReboot, evHealed:
		h.aside(e)
	}
}

// begin is the deployment of a revision that hasn't ended, or a new one.
func (h *chronicle) begin(e entry) *api.Deployment {
	d := h.open[e.Revision]
	if d == nil {
		commit := h.commits[e.Revision]
		d = &api.Deployment{Revision: e.Revision, Author: commit.Author, Subject: commit.Subject, Started: e.At, Layers: []string{}, Outcome: "underway"}
		h.open[e.Revision] = d
		h.all = append(h.all, d)
	}
	return d
}

func (h *chronicle) end(e entry, outcome string) {
	d := h.begin(e)
	d.Outcome, d.Duration = outcome, e.At.Sub(d.Started)
	if e.Because != "" {
		d.Reason = e.Because
	}
	d.Moved = e.Moved
	d.Generations = map[string]int{}
	for layer, item := range e.Items {
		if number := h.numbers[layer][item]; number > 0 {
			d.Generations[layer] = number
		}
	}
	delete(h.open, e.Revision)
}

// conclude ends the rollout that is underway.
func (h *chronicle) conclude(e entry) {
	switch e.Event {
	case evGood:
		d := h.begin(e)
		d.Reason, d.Changes, d.Without = "", e.Changes, e.Without // of this try
		h.end(e, "good")
	case evRolledBack:
		h.end(e, api.OutcomeRolledBack)
	case evIncomplete:
		if d := h.open[e.Revision]; d != nil && d.Reason != "" {
			e.Because = d.Reason + "; " + e.Because
		}
		h.end(e, "incomplete")
	case evStuck:
		h.end(e, "stuck")
	}
	h.deploying = ""
}

// overtake ends the deployments that e makes pointless.
func (h *chronicle) overtake(e entry, older func(revision string, d *api.Deployment) bool) {
	for revision, d := range h.open {
		if revision != e.Revision && older(revision, d) {
			d.Outcome, d.Duration = "superseded", e.At.Sub(d.Started)
			delete(h.open, revision)
		}
	}
}

// aside makes entries of their own of what others did, of its healing, and of reboots.
func (h *chronicle) aside(e entry) {
	if e.Event == evReboot {
		e.Layer = "system"
	}
	key := "beside " + e.Layer // no revision
	switch healing := h.open[key]; {
	case e.Event == evHealed && healing != nil:
		healing.Outcome, healing.Duration = "healed", e.At.Sub(healing.Started)
		delete(h.open, key)
		return
	case e.Event == evHealed, e.Event == evHealing && healing != nil: // tried once more
		return
	}
	d := &api.Deployment{Revision: e.Revision, Started: e.At, Layers: []string{e.Layer}, Outcome: string(e.Event), Reason: e.Because}
	if e.Event == evHealing {
		h.open[key] = d
	}
	h.all = append(h.all, d)
}
