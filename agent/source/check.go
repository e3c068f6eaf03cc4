package source

import (
	"context"
	"errors"
	"time"
)

// A Checked is one of the repositories of a Config, and what keeps it from being followed, if anything does.
type Checked struct {
	URL    string
	Err    error
	Empty  bool // only that nothing was pushed yet
	Locked bool // only that it wants a token, and none was named
}

const checkTime = 10 * time.Second

// Check looks whether the repositories of cfg can be followed, as a poll would: who may write one on this machine, whether
// files of keys are as they should be, whether a server answers and has the branch. Nothing is fetched or kept.
func Check(ctx context.Context, cfg Config) ([]Checked, error) {
	places, err := newPlaces(cfg)
	if err != nil {
		return nil, err
	}
	var all []Checked
	for _, p := range places {
		all = append(all, p.check(ctx, cfg.Branch))
	}
	return all, nil
}

func (p *place) check(ctx context.Context, branch string) Checked {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	c := Checked{URL: hidden(p.url)}
	offered, err := ask(ctx, p.remote)
	if err == nil {
		c.Empty = len(offered) == 0
		_, err = offered.tip(c.URL, branch)
	}
	c.Err, c.Locked = err, errors.As(err, new(*lockedError))
	return c
}
