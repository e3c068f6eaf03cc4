package rollout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.org/collie/agent/waits"
)

// A deadline doesn't end a system call: who opens a FIFO of a user's, or reads a file of a server that is gone, may hang for good.
// So the work on a layer runs in a goroutine that its owner can go on without. No other is begun on that layer until it ends,
// so each layer has one such goroutine at most, and two never write to it at once.
//
//	what                          when its owner goes on without it        what holds
//	a look                        after lookLimit and a moment             the layer is a problem; a rollout leaves it out
//	a switch, a tidying           nobody was asked anything for muteLimit  the switch fails, for which no commit is blamed
//	a preparation of a user's     the same, for mutePreparing              the layer isn't prepared
//	any of them, at the end       the same, for endLimit                   nothing: the agent ends
const (
	lookLimit     = 40 * time.Second
	lookMoment    = 5 * time.Second
	muteLimit     = 10 * time.Minute
	mutePreparing = 2 * time.Minute
	endLimit      = 5 * time.Second
	hangTold      = 5 * time.Second // between two reports of it
)

// errHangs says that the work on a layer doesn't end.
var errHangs = errors.New("it hangs in the agent itself, as what it reads doesn't answer")

// A hang is work that its owner went on without.
type hang struct {
	does  string
	since time.Time
	ended <-chan struct{}
	at    *waits.Board
}

func (h *hang) err() error {
	why := errHangs.Error()
	if h.at.Mute(h.since) == 0 {
		why = "it is still at work"
	}
	return fmt.Errorf("%s that began %s hasn't ended: %s", h.does, h.since.Format(time.DateTime), why)
}

func (h *hang) over() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// inTime does f, and waits for it until it ends, or is given up. life ends with the agent.
func inTime(life context.Context, does string, at *waits.Board, limit func(took, mute time.Duration) bool, f func()) *hang {
	ended := make(chan struct{})
	h := &hang{does: does, since: time.Now(), ended: ended, at: at}
	go func() {
		defer close(ended)
		f()
	}()
	look := time.NewTimer(lookMoment)
	defer look.Stop()
	stopping := life.Done()
	for {
		select {
		case <-ended:
			return nil
		case <-stopping:
			stopping = nil
			look.Reset(endLimit)
			continue
		case <-look.C:
			look.Reset(time.Second)
		}
		mute := at.Mute(h.since)
		if limit(time.Since(h.since), mute) || life.Err() != nil && mute >= endLimit {
			return h
		}
	}
}

func forALook(took, _ time.Duration) bool { return took >= lookLimit+lookMoment }

func forASwitch(_, mute time.Duration) bool { return mute >= muteLimit }

func forPreparing(_, mute time.Duration) bool { return mute >= mutePreparing }

func withoutEnd(_, _ time.Duration) bool { return false }

// holdOut reports, in the keeper's place, that its work hangs, until that ends or ctx does. It touches nothing that the work may.
// It returns the last order that came meanwhile.
func (k *keeper) holdOut(ctx context.Context, h *hang, target, about string) (last *order) {
	k.log.Error("the work on a layer hangs", "layer", k.Name, "what", h.does, "since", h.since)
	tell := time.NewTimer(0)
	defer tell.Stop()
	var revival time.Time
	for {
		select {
		case <-h.ended:
			k.log.Info("the work on a layer continues", "layer", k.Name, "after", time.Since(h.since))
			return last
		case <-ctx.Done():
			return last
		case o := <-k.orders:
			target, about, revival, last = o.target.ID, o.about.ID, o.revival, &o
			if o.only != nil {
				k.reports <- report{layer: k.Name, tidied: true}
			}
			if o.switchTo || o.before != nil {
				k.reports <- h.refuses(k.Name, o)
				target, last = "", nil
			}
			tell.Reset(0)
		case <-tell.C:
			k.reports <- report{layer: k.Name, target: target, about: about, revival: revival, at: time.Now(), hangs: true, err: h.err()}
			tell.Reset(hangTold)
		}
	}
}

// does says what an order has the keeper do.
func (o order) does() string {
	switch {
	case o.switchTo:
		return "a switch"
	case o.before != nil:
		return "a release"
	}
	return "tidying"
}

// refuses answers an order to switch. On the way back, work that will not end is no cause that passes by itself.
func (h *hang) refuses(layer string, o order) report {
	r := report{layer: layer, target: o.target.ID, switched: o.switchTo, released: o.before != nil, at: time.Now(), err: h.err()}
	if forward := o.rollout != ""; forward || h.at.Mute(h.since) == 0 {
		r.err = &TransientError{r.err}
	}
	return r
}

// hangs are the preparations that don't end, by layer.
type hangs struct {
	mu  sync.Mutex
	all map[string]*hang
}

// of is the work on a layer that still hangs.
func (hs *hangs) of(layer string) *hang {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.all[layer]
	if h != nil && h.over() {
		delete(hs.all, layer)
		return nil
	}
	return h
}

func (hs *hangs) add(layer string, h *hang) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.all == nil {
		hs.all = map[string]*hang{}
	}
	hs.all[layer] = h
}

// attempt prepares one layer of rev.
func (p *preparer) attempt(ctx context.Context, part Part, rev Revision) (Target, error) {
	if h := p.hangs.of(part.Name); h != nil {
		return Target{}, &UserError{h.err()}
	}
	limit := withoutEnd
	if ofUser(part.Name) {
		limit = forPreparing
	}
	var (
		at  waits.Board
		t   Target
		err error
	)
	if h := inTime(ctx, "the preparation", &at, limit, func() { t, err = part.Layer.Prepare(at.On(ctx), rev, p.tell(part.Name)) }); h != nil {
		p.hangs.add(part.Name, h)
		return Target{}, &UserError{h.err()}
	}
	return t, boundedError(err)
}

// waitFor waits for parallel work to end, but not for work that hangs.
func waitFor(beside *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		beside.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(endLimit):
	}
}
