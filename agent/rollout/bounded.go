package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/collie/agent/foreign"
)

// The reports of layers come from Podman, from Shepherds and from programs of users, and all of these can write as much as they
// like. So a report is bounded before a keeper or a preparation returns it: afterwards it is kept in memory, written into state and
// journal, and read back. Parts that are left out are counted.
const (
	mostSaid  = 500       // changes, or problems, of one look
	mostBytes = 128 << 10 // of their texts together
	mostText  = 4 << 10   // bytes of one text of them
	mostError = 16 << 10  // bytes of an error

	mostPlanned      = 5000 // changes of a layer in a plan, which only a person reads
	mostPlannedBytes = 4 << 20
)

// bounded is a report as the conductor can keep it.
func bounded(r report) report {
	r.changes = boundedChanges(r.changes, mostSaid, mostBytes)
	r.problems = boundedProblems(r.layer, r.problems)
	r.selfUpdate.Subject, r.selfUpdate.Says = foreign.Bound(r.selfUpdate.Subject, mostText), foreign.Bound(r.selfUpdate.Says, mostText)
	r.taken, r.healing = foreign.Bound(r.taken, mostText), foreign.Bound(r.healing, mostText)
	r.err = boundedError(r.err)
	return r
}

// boundedChanges leaves out changes beyond the bounds. The rest counts as waiting if all of it waits.
func boundedChanges(all []Change, number, bytes int) []Change {
	kept := all[:0:0]
	for i, c := range all {
		c.Does, c.Subject, c.Says = foreign.Bound(c.Does, mostText), foreign.Bound(c.Subject, mostText), foreign.Bound(c.Says, mostText)
		c.Old, c.New, c.Diff = foreign.Bound(c.Old, mostText), foreign.Bound(c.New, mostText), foreign.Bound(c.Diff, bytes/4)
		bytes -= len(c.Does) + len(c.Subject) + len(c.Says) + len(c.Old) + len(c.New) + len(c.Diff)
		if i == number || bytes < 0 {
			waits := !slices.ContainsFunc(all[i:], func(c Change) bool { return !c.Waits })
			return append(kept, Change{Does: "change", Subject: fmt.Sprintf("%d more", len(all)-i), Waits: waits})
		}
		kept = append(kept, c)
	}
	return kept
}

// boundedProblems leaves out what is too much: no revision is to blame for how many there are.
func boundedProblems(layer string, all []Problem) []Problem {
	kept, bytes := all[:0:0], mostBytes
	for i, p := range all {
		p.Subject, p.Says = foreign.Bound(p.Subject, mostText), foreign.Bound(p.Says, mostText)
		p.Details = boundedLines(p.Details)
		bytes -= len(p.Subject) + len(p.Says) + len(strings.Join(p.Details, ""))
		if i == mostSaid || bytes < 0 {
			return append(kept, Problem{Layer: layer, Subject: "and more", Says: fmt.Sprintf("%d more problems aren't named", len(all)-i), Unrelated: true})
		}
		kept = append(kept, p)
	}
	return kept
}

// boundedLines are the first lines of some.
func boundedLines(all []string) []string {
	const most = 40
	kept := slices.Clone(all[:min(len(all), most)])
	for i := range kept {
		kept[i] = foreign.Bound(kept[i], mostText)
	}
	if more := len(all) - most; more > 0 {
		kept = append(kept, fmt.Sprintf("and %d more", more))
	}
	return kept
}

// A cutError is an error that was cut: only its beginning is shown.
type cutError struct {
	error
	says string
}

func (e *cutError) Error() string { return e.says }

func (e *cutError) Unwrap() error { return e.error }

func boundedError(err error) error {
	if err == nil || len(err.Error()) <= mostError {
		return err
	}
	if blamed := new(BadError); errors.As(err, &blamed) { // only its own words are shown
		return &BadError{Err: &cutError{blamed.Err, foreign.Bound(err.Error(), mostError)}, Retriable: blamed.Retriable}
	}
	return &cutError{err, foreign.Bound(err.Error(), mostError)}
}
