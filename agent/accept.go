package agent

import (
	"context"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// accept takes a commit that the source refuses, as it doesn't descend from the accepted one. That is written into the journal
// and done, or neither: from then on what is new must descend from it.
func (a *Agent) accept(ctx context.Context, id string) (api.Synced, error) {
	if err := a.closed(); err != nil {
		return api.Synced{}, err
	}
	rev, err := a.source.Accept(ctx, id, func(rev, instead source.Revision, step func() error) error {
		// It isn't given up halfway: nobody would know then whether the step was done.
		return a.conductor.Accept(context.WithoutCancel(ctx), rev, instead, step)
	})
	if err != nil {
		return api.Synced{}, err
	}
	return api.Synced{Revision: rev.ID}, a.conductor.Follow(ctx, rev, a.source.Plans())
}
