package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"example.org/collie/agent/api"
	"example.org/collie/agent/layers"
	"example.org/collie/agent/source"
	"example.org/collie/agent/statefile"
)

// status is what the conductor last knew, with what others know.
func (a *Agent) status(ctx context.Context) (api.Status, error) {
	status := a.conductor.Status(ctx)
	status.Version, status.Source = a.version, sourceStatus(a.source.Status())
	others := a.others()
	if more := len(others) - mostOthers; more > 0 {
		status.Notes = append(status.Notes, fmt.Sprintf("others run %d more guixes", more))
	}
	for _, o := range others[:min(len(others), mostOthers)] {
		status.Others = append(status.Others, api.Other{PID: o.PID, User: o.Owner(), Since: o.Since, Runs: o.Runs, Layer: a.holdsUp(o)})
	}
	status.Problems = append(status.Problems, a.unreadSays()...)
	for _, file := range slices.Concat(statefile.Aside(a.cfg.State), statefile.Aside(filepath.Join(a.cfg.State, layers.KeysDir))) {
		status.Notes = append(status.Notes, "state: "+file+" made no sense and was set aside: the disk may be at fault; inspect the file, then remove it")
	}
	return status, nil
}

// mostOthers is how many guixes of others a status names.
const mostOthers = 20

func sourceStatus(s source.Status) api.Source {
	told := api.Source{URL: s.URL, Branch: s.Branch, LastPoll: s.LastPoll, Error: s.Error, Answered: s.Answered}
	for _, w := range s.Wrong {
		told.Wrong = append(told.Wrong, api.Wrong(w))
	}
	return told
}
