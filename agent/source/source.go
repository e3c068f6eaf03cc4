package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"example.org/collie/agent/crash"
)

// Config says what to follow, and whom to trust with it.
type Config struct {
	URL      string        // file:///srv/git/ops.git, /srv/git/ops.git, or http:// on loopback
	Branch   string        // default: main
	Owner    string        // of a repository on this machine: it and root alone may write it; empty: root alone
	PodUser  string        // may never be able to write it; empty: nobody to watch for
	Interval time.Duration // between polls, ±10 %; default 30 s, at least 1 s
	Dir      string        // the bare clone
	Accepted string        // the full commit id that the caller accepted last, for when the clone was deleted; may be empty
	Log      *slog.Logger  // default: slog.Default()
}

// A Revision is an accepted commit. Author and Subject are fit to be shown: short, without control characters.
type Revision struct {
	ID      string    `json:"id"` // full commit id
	Author  string    `json:"author"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"time"`
}

// Status is how following goes.
type Status struct {
	URL      string    `json:"url"`
	Branch   string    `json:"branch"`
	LastPoll time.Time `json:"lastPoll"` // when the last poll ended, well or not
	Error    string    `json:"error"`    // of the last poll; empty if it went well
}

// A Source follows a branch. Its methods may be called at the same time.
type Source struct {
	url, branch string
	interval    time.Duration
	answer      time.Duration // a server's time to list its branches
	transfer    time.Duration // and to send a pack
	remote      remote
	clone       *clone
	log         *slog.Logger

	wake    chan struct{}
	running atomic.Bool
	suspect atomic.Bool // an object couldn't be read: the next poll looks at the clone before all else

	turn    chan struct{} // held by the poll in flight, which alone uses the fields up to the next lock
	seen    string        // the remote's stamp when it was last asked, with an outcome that asking again won't change
	refused *refusal      // the answer to that commit, until another one is offered
	whole   plumbing.Hash // the commit last seen to be complete in the clone

	mu       sync.Mutex
	status   Status
	accepted Revision // ID empty: none yet
}

// Time for a server: to answer, and to send all that is new.
const (
	answerTime   = 30 * time.Second
	transferTime = 10 * time.Minute
)

// Open checks cfg, and makes or heals the clone. It doesn't talk to the repository.
func Open(cfg Config) (*Source, error) {
	if cfg.Branch == "" {
		cfg.Branch = "main"
	}
	if cfg.Interval == 0 {
		cfg.Interval = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	switch {
	case plumbing.NewBranchReferenceName(cfg.Branch).Validate() != nil:
		return nil, fmt.Errorf("source.branch %q is no name that git allows for a branch", cfg.Branch)
	case cfg.Interval < time.Second:
		return nil, fmt.Errorf("source.interval %v is below the minimum of 1s", cfg.Interval)
	case !filepath.IsAbs(cfg.Dir):
		return nil, fmt.Errorf("the clone's directory %q is no absolute path", cfg.Dir)
	case cfg.Accepted != "" && !plumbing.IsHash(cfg.Accepted):
		return nil, fmt.Errorf("the last accepted commit %q is no full commit id", cfg.Accepted)
	}
	shown, r, err := newRemote(cfg)
	if err != nil {
		return nil, err
	}
	c, err := openClone(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("opening the clone in %s: %w", cfg.Dir, err)
	}
	s := &Source{
		url: shown, branch: cfg.Branch, interval: cfg.Interval, answer: answerTime, transfer: transferTime,
		remote: r, clone: c, log: cfg.Log,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		status: Status{URL: shown, Branch: cfg.Branch},
	}
	id := c.accepted()
	if id.IsZero() && cfg.Accepted != "" {
		id = plumbing.NewHash(cfg.Accepted)
		if err := c.accept(id); err != nil {
			return nil, fmt.Errorf("noting the accepted commit in %s: %w", cfg.Dir, err)
		}
	}
	if !id.IsZero() {
		if s.accepted, err = c.revision(id); err != nil {
			s.accepted = Revision{ID: id.String()} // its object is lost with the clone; the id is what counts
		}
	}
	return s, nil
}

// Wake asks a running Run to poll now.
func (s *Source) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // it is asked already
	}
}

// Status says how the last poll went.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Accepted is the revision accepted last, by this process or one before it. After the clone was lost it may hold no
// more than the ID.
func (s *Source) Accepted() (Revision, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted, s.accepted.ID != ""
}

// Poll looks at the repository once, and returns the newest accepted revision if it is what the branch holds. A Run
// beside it tells of what it accepts.
func (s *Source) Poll(ctx context.Context) (Revision, error) {
	rev, isNew, err := s.look(ctx)
	if isNew {
		s.Wake()
	}
	return rev, err
}

// look polls when nobody else does, and notes how it went.
func (s *Source) look(ctx context.Context) (rev Revision, isNew bool, err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return Revision{}, false, fmt.Errorf("waiting for another poll of %s: %w", s.url, context.Cause(ctx))
	}
	defer func() { <-s.turn }()

	before, _ := s.Accepted()
	rev, err = s.poll(ctx)
	if err != nil && ctx.Err() != nil {
		return Revision{}, false, err // the caller gave up: that says nothing about the repository
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastPoll, s.status.Error = time.Now(), ""
	if err != nil {
		s.status.Error = err.Error()
		return Revision{}, false, err
	}
	return rev, rev.ID != before.ID, nil
}

func (s *Source) poll(ctx context.Context) (Revision, error) {
	if s.suspect.Swap(false) {
		s.seen, s.whole = "", plumbing.ZeroHash
		if err := s.clone.heal(); err != nil {
			return Revision{}, fmt.Errorf("healing the clone in %s: %w", s.clone.dir, err)
		}
	}
	stamp := s.remote.stamp() // before asking: a push in between is seen by the next poll
	if stamp != "" && stamp == s.seen {
		if s.refused != nil {
			return Revision{}, s.refused
		}
		rev, _ := s.Accepted()
		return rev, nil
	}
	s.seen = ""
	rev, err := s.ask(ctx)
	var no *refusal
	if err != nil && !errors.As(err, &no) {
		return Revision{}, err
	}
	s.seen = stamp
	return rev, err
}

// ask learns the newest commit, and fetches and accepts it unless that happened before.
func (s *Source) ask(ctx context.Context) (Revision, error) {
	var tip plumbing.Hash
	err := s.within(ctx, s.answer, "asking "+s.url+" for its branches", func(ctx context.Context) (err error) {
		tip, err = newest(ctx, s.remote, s.branch)
		return err
	})
	if err != nil {
		return Revision{}, err
	}
	last, _ := s.Accepted()
	if s.refused != nil && s.refused.offered == tip {
		return Revision{}, s.refused
	}
	s.refused = nil
	if tip.String() == last.ID && (s.whole == tip || s.clone.complete(tip) == nil) {
		s.whole = tip
		return last, nil
	}

	// The fetch leaves tens of MiB of garbage that an idle process would keep for minutes: give it back at once.
	defer debug.FreeOSMemory()
	tip, err = s.fetch(ctx, plumbing.NewHash(last.ID))
	if errors.As(err, &s.refused) {
		s.compact(plumbing.NewHash(last.ID))
		return Revision{}, err
	}
	if err != nil {
		return Revision{}, err
	}
	crash.At("fetching.fetched")
	rev, err := s.clone.revision(tip)
	if err != nil {
		return Revision{}, fmt.Errorf("reading commit %s: %w", tip, err)
	}
	if err := s.clone.accept(tip); err != nil {
		return Revision{}, fmt.Errorf("noting commit %s as accepted in %s: %w", tip, s.clone.dir, err)
	}
	s.whole = tip
	s.mu.Lock()
	s.accepted = rev
	s.mu.Unlock()
	s.compact(tip)
	return rev, nil
}

// compact is a matter of speed and space only: failing at it is no reason not to follow.
func (s *Source) compact(tip plumbing.Hash) {
	if err := s.clone.compact(tip); err != nil {
		s.log.Warn("the clone stays larger than it should", "dir", s.clone.dir, "error", err)
	}
}

// fetch brings the newest commit into the clone, whole, and returns it if it may follow last.
func (s *Source) fetch(ctx context.Context, last plumbing.Hash) (plumbing.Hash, error) {
	if last.IsZero() || s.clone.complete(last) != nil {
		return s.fetchAfresh(ctx, last)
	}
	tip, err := s.get(ctx, 0, last)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	// The server believes that we have all of last's history. So it left out no commit between last and its own tip:
	// if last can't be reached from there, the tip doesn't descend from it. The files may lack some that were there
	// before last, and come back by a revert.
	descends, err := s.clone.descends(tip, last)
	if err != nil {
		s.log.Warn("the clone is damaged: starting afresh", "dir", s.clone.dir, "error", err)
		return s.fetchAfresh(ctx, last)
	}
	if !descends {
		return plumbing.ZeroHash, &refusal{branch: s.branch, accepted: last, offered: tip}
	}
	if s.clone.complete(tip) == nil {
		return tip, nil
	}
	again, err := s.get(ctx, 1, plumbing.ZeroHash)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if again != tip {
		return plumbing.ZeroHash, fmt.Errorf("fetching from %s: %s moved to %s meanwhile", s.url, s.branch, again)
	}
	if err := s.clone.complete(tip); err != nil {
		s.log.Warn("the clone is damaged: starting afresh", "dir", s.clone.dir, "error", err)
		return s.fetchAfresh(ctx, last)
	}
	return tip, nil
}

// fetchAfresh empties the clone and fetches no more history than it takes to prove that the newest commit descends
// from last: none, if it is last or there is no last.
func (s *Source) fetchAfresh(ctx context.Context, last plumbing.Hash) (tip plumbing.Hash, err error) {
	for _, depth := range []int{1, 100, 0} {
		if err := s.clone.empty(); err != nil {
			return tip, fmt.Errorf("emptying the clone in %s: %w", s.clone.dir, err)
		}
		if tip, err = s.get(ctx, depth, plumbing.ZeroHash); err != nil {
			return tip, err
		}
		if err := s.clone.complete(tip); err != nil {
			return tip, fmt.Errorf("%s sent commit %s without all that it needs: %w", s.url, tip, err)
		}
		if last.IsZero() {
			return tip, nil
		}
		descends, err := s.clone.descends(tip, last)
		if descends || err != nil {
			return tip, err
		}
	}
	return tip, &refusal{branch: s.branch, accepted: last, offered: tip}
}

func (s *Source) get(ctx context.Context, depth int, have plumbing.Hash) (tip plumbing.Hash, err error) {
	err = s.within(ctx, s.transfer, "fetching from "+s.url, func(ctx context.Context) (err error) {
		tip, err = fetch(ctx, s.remote, s.branch, s.clone.storage(), depth, have)
		return err
	})
	if err != nil {
		s.clone.sweep() // what the broken transfer left
	}
	return tip, err
}

// within gives what its deadline, and says what was being done when it failed.
func (s *Source) within(ctx context.Context, limit time.Duration, doing string, what func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	err := what(ctx)
	var p problem
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case errors.As(err, &p):
		return p // it says all
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// A problem is for a person to solve: it is looked at again soon, as waiting longer spares nobody.
type problem string

func (p problem) Error() string { return string(p) }

// A refusal says that a commit isn't followed, as it doesn't descend from the accepted one.
type refusal struct {
	branch            string
	accepted, offered plumbing.Hash
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s was moved to commit %s, which doesn't descend from the accepted commit %s: it is refused, and the machine stays where it is; "+
		"push a commit on top of %s instead (git revert takes a change back)", r.branch, r.offered, r.accepted, r.accepted.String()[:12])
}
