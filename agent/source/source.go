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
	Repository
	Mirrors  []Repository  // asked in this order when the repository doesn't answer, or is behind
	Branch   string        // default: main
	PodUser  string        // may never be able to write it; empty: nobody to watch for
	Interval time.Duration // between polls, ±10 %; default 30 s, at least 1 s
	Dir      string        // the bare clone
	Accepted string        // the full commit id that the caller accepted last, for when the clone was deleted; may be empty
	Log      *slog.Logger  // default: slog.Default()
	Plans    func([]Plan)  // is called by Run with the plans, at first and when they change; nil: nobody asks
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
	Answered string    `json:"answered"` // the URL of the repository that told the newest commit; empty if none did
	Wrong    []Wrong   `json:"wrong"`    // what is wrong with the others, as they answered last
}

// Wrong is what is wrong with one of several repositories.
type Wrong struct {
	URL  string `json:"url"`
	Says string `json:"says"`
}

// A Source follows a branch. Its methods may be called at the same time.
type Source struct {
	branch   string
	interval time.Duration
	answer   time.Duration // a server's time to list its branches
	transfer time.Duration // and to send a pack
	places   []*place      // the repository, and its mirrors
	clone    *clone
	log      *slog.Logger

	wake    chan struct{}
	running atomic.Bool
	suspect atomic.Bool // an object couldn't be read: the next poll first checks the clone

	turn  chan struct{} // held by the poll in flight, which alone uses whole, the places and the clone
	whole plumbing.Hash // the commit last seen to be complete in the clone

	tell func([]Plan)

	mu       sync.Mutex
	status   Status
	accepted Revision // ID empty: none yet
	plans    plans
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
	places, err := newPlaces(cfg)
	if err != nil {
		return nil, err
	}
	c, unmended := openClone(cfg.Dir, cfg.Log)
	s := &Source{
		branch: cfg.Branch, interval: cfg.Interval, answer: answerTime, transfer: transferTime,
		places: places, clone: c, log: cfg.Log, tell: cfg.Plans,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		status: Status{URL: cfg.URL, Branch: cfg.Branch},
	}
	if unmended != nil {
		s.later("the clone can't be opened, and the next poll tries again", unmended)
	}
	id := c.accepted()
	if id.IsZero() && cfg.Accepted != "" {
		id = plumbing.NewHash(cfg.Accepted)
		if err := c.accept(id); err != nil {
			s.later("the accepted commit isn't noted in the clone for now", err)
		}
	}
	if !id.IsZero() {
		if s.accepted, err = c.revision(id); err != nil {
			s.accepted = Revision{ID: id.String()} // its object is lost with the clone; the id is what counts
		}
	}
	return s, nil
}

// later leaves what is wrong with the clone to the next poll: on a disk that can't be written there is enough to do without it.
func (s *Source) later(says string, err error) {
	s.log.Error(says, "dir", s.clone.dir, "err", err)
	s.suspect.Store(true)
}

// IsCommit reports whether id is a full commit id.
func IsCommit(id string) bool { return plumbing.IsHash(id) }

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

// Describe reads who wrote a commit of the clone, and its subject.
func (s *Source) Describe(id string) (Revision, error) {
	if !plumbing.IsHash(id) {
		return Revision{}, fmt.Errorf("reading revision %q: that is no full commit id", id)
	}
	return s.clone.revision(plumbing.NewHash(id))
}

// Poll polls the repository once, and returns the newest accepted revision if the branch points to it. A Run
// in parallel reports what it accepts.
func (s *Source) Poll(ctx context.Context) (Revision, error) {
	before := s.changes()
	rev, isNew, err := s.look(ctx, s.inOrder) // a person asks, who may just have mended one
	if isNew || s.changes() != before {
		s.Wake()
	}
	return rev, err
}

// look polls when nobody else does, and notes how it went.
func (s *Source) look(ctx context.Context, order func() []*place) (rev Revision, isNew bool, err error) {
	if err := s.begin(ctx); err != nil {
		return Revision{}, false, err
	}
	defer s.end()
	before, _ := s.Accepted()
	rev, from, err := s.poll(ctx, order())
	if err != nil && ctx.Err() != nil {
		return Revision{}, false, err // the caller gave up: that says nothing about the repository
	}
	s.note(from, err)
	return rev, err == nil && rev.ID != before.ID, err
}

// begin waits until nobody else polls.
func (s *Source) begin(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another poll of %s: %w", s.places[0].url, context.Cause(ctx))
	}
}

func (s *Source) end() { <-s.turn }

// note tells the status how a poll went.
func (s *Source) note(from *place, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastPoll, s.status.Error, s.status.Answered, s.status.Wrong = time.Now(), "", "", nil
	if err != nil {
		s.status.Error = err.Error()
	}
	if from != nil {
		s.status.Answered = from.url
	}
	if err != nil && from == nil {
		return // it says what is wrong with each
	}
	for _, p := range s.places {
		if p.says != "" && (p != from || err == nil) {
			s.status.Wrong = append(s.status.Wrong, Wrong{p.url, p.says})
		}
	}
}

// try asks one repository for its newest commit, and fetches and accepts it unless that happened before.
func (s *Source) try(ctx context.Context, p *place) (Revision, error) {
	stamp := p.stamp() // before asking: a push in between is seen by the next poll
	if stamp != "" && stamp == p.seen {
		if p.refused != nil {
			return Revision{}, p.refused
		}
		rev, _ := s.Accepted()
		return rev, nil
	}
	p.seen = ""
	rev, err := s.ask(ctx, p)
	var no *refusal
	if err != nil && !errors.As(err, &no) {
		return Revision{}, err
	}
	if err == nil && p == s.places[0] { // a mirror may not have the plans
		err := s.readPlans(ctx, p)
		if err != nil && ctx.Err() != nil {
			return rev, nil
		}
		if err != nil {
			s.log.Warn("a plan isn't read for now", "error", err)
			return rev, nil // and asked for again by the next poll
		}
		s.compact(plumbing.NewHash(rev.ID))
	}
	p.seen = stamp
	return rev, err
}

// ask learns the newest commit, and fetches and accepts it unless that happened before.
func (s *Source) ask(ctx context.Context, p *place) (Revision, error) {
	tip, err := s.tip(ctx, p)
	if err != nil {
		return Revision{}, err
	}
	last, _ := s.Accepted()
	if p.refused != nil && p.refused.offered == tip {
		return Revision{}, p.refused
	}
	p.refused = nil
	if tip.String() == last.ID && (s.whole == tip || s.clone.complete(tip) == nil) {
		s.whole = tip
		return last, nil
	}
	if before := plumbing.NewHash(last.ID); tip != before {
		if behind, err := s.clone.descends(before, tip); behind && err == nil {
			p.refused = &refusal{branch: s.branch, accepted: before, offered: tip, behind: true}
			return Revision{}, p.refused
		}
	}

	// The fetch leaves tens of MiB of garbage that an idle process would keep for minutes: give it back at once.
	defer debug.FreeOSMemory()
	tip, err = s.fetch(ctx, p, plumbing.NewHash(last.ID))
	if errors.As(err, &p.refused) {
		s.compact(plumbing.NewHash(last.ID))
		return Revision{}, err
	}
	if err != nil {
		return Revision{}, err
	}
	crash.At("fetching.fetched")
	return s.accept(tip)
}

// tip is the newest commit that a repository offers now.
func (s *Source) tip(ctx context.Context, p *place) (plumbing.Hash, error) {
	var all branches
	err := s.within(ctx, s.answer, "asking "+p.url+" for its branches", func(ctx context.Context) (err error) {
		all, err = ask(ctx, p)
		return err
	})
	if err != nil {
		return plumbing.ZeroHash, err
	}
	p.offers = all
	return all.tip(p.url, s.branch)
}

// accept makes a commit that is in the clone, whole, the one that the next must descend from.
func (s *Source) accept(tip plumbing.Hash) (Revision, error) {
	rev, err := s.clone.revision(tip)
	if err != nil {
		return Revision{}, fmt.Errorf("reading commit %s: %w", tip, err)
	}
	if err := s.noted(tip); err != nil {
		return Revision{}, err
	}
	s.follow(rev)
	return rev, nil
}

// noted writes down that a commit is accepted.
func (s *Source) noted(tip plumbing.Hash) error {
	if err := s.clone.accept(tip); err != nil {
		return fmt.Errorf("noting commit %s as accepted in %s: %w", tip, s.clone.dir, err)
	}
	return nil
}

// follow goes on from an accepted commit.
func (s *Source) follow(rev Revision) {
	tip := plumbing.NewHash(rev.ID)
	s.whole = tip
	for _, p := range s.places {
		p.seen, p.refused = "", nil // answers to the commit before
	}
	s.mu.Lock()
	s.accepted = rev
	s.mu.Unlock()
	s.compact(tip)
}

// compact is a matter of speed and space only: failing at it is no reason not to follow.
func (s *Source) compact(tip plumbing.Hash) {
	if err := s.clone.compact(append([]plumbing.Hash{tip}, s.planTips()...)); err != nil {
		s.log.Warn("the clone can't be compacted", "dir", s.clone.dir, "error", err)
	}
}

// fetch brings the newest commit into the clone, whole, and returns it if it may follow last.
func (s *Source) fetch(ctx context.Context, p *place, last plumbing.Hash) (plumbing.Hash, error) {
	if last.IsZero() || s.clone.complete(last) != nil {
		return s.fetchAfresh(ctx, p, last)
	}
	tip, err := s.get(ctx, p, 0, last)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if !s.clone.has(tip) { // left out, as it is in last's history, which is cut here
		return plumbing.ZeroHash, &refusal{branch: s.branch, accepted: last, offered: tip, behind: true}
	}
	// The server believes that we have all of last's history. So it left out no commit between last and its own tip:
	// if last can't be reached from there, the tip doesn't descend from it. The files may lack some that were there
	// before last, and come back by a revert.
	descends, err := s.clone.descends(tip, last)
	if err != nil {
		s.log.Warn("the clone is damaged: starting afresh", "dir", s.clone.dir, "error", err)
		return s.fetchAfresh(ctx, p, last)
	}
	if !descends {
		return plumbing.ZeroHash, &refusal{branch: s.branch, accepted: last, offered: tip}
	}
	if s.clone.complete(tip) == nil {
		return tip, nil
	}
	if err := s.getAlone(ctx, p, tip); err != nil {
		return plumbing.ZeroHash, err
	}
	if err := s.clone.complete(tip); err != nil {
		s.log.Warn("the clone is damaged: starting afresh", "dir", s.clone.dir, "error", err)
		return s.fetchAfresh(ctx, p, last)
	}
	return tip, nil
}

// getAlone brings a commit into the clone, whole, without its history.
func (s *Source) getAlone(ctx context.Context, p *place, want plumbing.Hash) error {
	tip, err := s.get(ctx, p, 1, plumbing.ZeroHash)
	if err == nil && tip != want {
		err = fmt.Errorf("fetching from %s: %s moved to %s meanwhile", p.url, s.branch, tip)
	}
	return err
}

// fetchAfresh empties the clone and fetches no more history than it takes to prove that the newest commit descends
// from last: none, if it is last or there is no last.
func (s *Source) fetchAfresh(ctx context.Context, p *place, last plumbing.Hash) (tip plumbing.Hash, err error) {
	for _, depth := range []int{1, 100, 0} {
		if err := s.clone.empty(); err != nil {
			return tip, fmt.Errorf("emptying the clone in %s: %w", s.clone.dir, err)
		}
		if tip, err = s.get(ctx, p, depth, plumbing.ZeroHash); err != nil {
			return tip, err
		}
		if err := s.clone.complete(tip); err != nil {
			return tip, fmt.Errorf("%s sent commit %s without all that it needs: %w", p.url, tip, err)
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

func (s *Source) get(ctx context.Context, p *place, depth int, have plumbing.Hash) (tip plumbing.Hash, err error) {
	err = s.within(ctx, s.transfer, "fetching from "+p.url, func(ctx context.Context) (err error) {
		tip, err = fetch(ctx, p, s.branch, s.clone, depth, have)
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

// A problem is for a person to solve. It is checked again soon, because waiting longer helps nobody.
type problem string

func (p problem) Error() string { return string(p) }

// A refusal says that a commit isn't followed, as it doesn't descend from the accepted one.
type refusal struct {
	branch            string
	accepted, offered plumbing.Hash
	behind            bool // the accepted one descends from it
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s was moved to commit %s, which doesn't descend from the accepted commit %s: it is refused, and the machine stays where it is; "+
		"push a commit on top of %s instead (git revert takes a change back), or take it: collie sync --accept %s",
		r.branch, r.offered, r.accepted, r.accepted.String()[:12], r.offered)
}
