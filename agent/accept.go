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
		return a.conductor.ask(context.WithoutCancel(ctx), func() error {
			err := a.conductor.write(Entry{
				Event: evAccepted, Revision: rev.ID, Author: rev.Author, Subject: rev.Subject,
				Because: "by hand, in place of " + instead.ID + ", from which it doesn't descend",
			})
			if err != nil {
				return err
			}
			if err := step(); err != nil {
				return &unwrittenError{err}
			}
			return nil
		})
	})
	if err != nil {
		return api.Synced{}, err
	}
	err = a.conductor.ask(ctx, func() error { a.conductor.newest(rev); return nil })
	return api.Synced{Revision: rev.ID}, err
}

func sourceStatus(s source.Status) api.Source {
	told := api.Source{URL: s.URL, Branch: s.Branch, LastPoll: s.LastPoll, Error: s.Error, Answered: s.Answered}
	for _, w := range s.Wrong {
		told.Wrong = append(told.Wrong, api.Wrong(w))
	}
	return told
}
