package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// pushed is what there is to say of a ref that was pushed to a repository of which branch followed is followed. sync has the
// agent poll the repository.
func (c *Conductor) Pushed(ctx context.Context, ref, commit, followed string, sync func(context.Context) error) (api.Pushed, error) {
	branch, _ := strings.CutPrefix(ref, "refs/heads/")
	name, isPlan := source.PlanOf(branch)
	switch {
	case branch == ref:
		return api.Pushed{Done: true}, nil // a tag is nothing to us
	case !isPlan && branch != followed:
		return api.Pushed{Says: "Branch " + branch + " isn't followed: this machine follows " + followed +
			". Of a branch plan/NAME it shows what it would change.\n", Done: true}, nil
	}
	if !isPlan {
		name = ""
	}
	known := c.knows(name, commit)
	if !known {
		switch err := sync(ctx); {
		case errors.Is(err, api.ErrStopping):
			return api.Pushed{}, err
		case err != nil:
			return api.Pushed{Says: "collie: " + err.Error() + "\n", Done: true}, nil
		}
		known = c.knows(name, commit)
	}
	switch {
	case isPlan && known:
		return c.pushedPlan(ctx, name)
	case isPlan:
		err := source.CheckPlanName(name)
		if err == nil {
			err = fmt.Errorf("%s has nothing that isn't on %s", branch, followed)
		}
		return api.Pushed{Says: "collie: " + err.Error() + "\n", Done: true}, nil
	case !known:
		return api.Pushed{Done: true}, nil // it moved on meanwhile
	}
	says := "Revision " + api.Short(commit) + " was received: `collie sync --wait` shows the result.\n"
	if s := c.look().state.Suspended; s != nil {
		says = "Revision " + api.Short(commit) + " was received, and waits: suspended" + colon(s.Why) + ".\n"
	}
	return api.Pushed{Says: says, Done: true}, nil
}

func (c *Conductor) pushedPlan(ctx context.Context, name string) (api.Pushed, error) {
	plan, err := c.Plan(ctx, name)
	if err != nil {
		return api.Pushed{}, err
	}
	underway := plan.Preparing != nil && plan.Preparing.Error == ""
	return api.Pushed{Says: plan.Text(), Done: !underway}, nil
}
