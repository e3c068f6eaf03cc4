package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// A place is one of the repositories that should hold the same: the one that is followed, or a mirror of it.
type place struct {
	remote
	url     string
	seen    string   // its stamp when it was last asked, with an outcome that asking again won't change
	refused *refusal // the answer to that commit, until another one is offered
	offers  branches // when it was last asked

	says     string    // what was wrong when it was last asked
	failures int       // since it last answered
	next     time.Time // when it is asked again, though another one answers
}

func newPlaces(cfg Config) ([]*place, error) {
	var places []*place
	for i, r := range append([]Repository{cfg.Repository}, cfg.Mirrors...) {
		key := "source."
		if i > 0 {
			key = fmt.Sprintf("source.mirrors[%d].", i-1)
		}
		var all []error
		for _, m := range r.Mistakes() {
			all = append(all, errors.New(key+m.Key+": "+m.Says))
		}
		if err := errors.Join(all...); err != nil {
			return nil, err
		}
		rem, err := newRemote(r, cfg)
		if err != nil {
			return nil, err
		}
		places = append(places, &place{remote: rem, url: r.URL})
	}
	return places, nil
}

// folders are those of all places in which a push changes something.
func (s *Source) folders() []string {
	var all []string
	for _, p := range s.places {
		all = append(all, p.folders()...)
	}
	return all
}

// inOrder are the places as configured.
func (s *Source) inOrder() []*place { return s.places }

// patient are the places as configured, but last those that failed lately. They are asked all the same if nobody else
// knows more.
func (s *Source) patient() []*place {
	now := time.Now()
	var first, last []*place
	for _, p := range s.places {
		if now.Before(p.next) {
			last = append(last, p)
		} else {
			first = append(first, p)
		}
	}
	return append(first, last...)
}

// poll asks one place after the other, until one has the accepted commit or one that descends from it.
//
//	what a place has                        what follows
//	the accepted commit, or a later one     that is the newest
//	an earlier one                          nothing new there, the next is asked
//	any other, the repository itself        it is refused: a force push
//	any other, a mirror                     nothing new there, the next is asked
//	no answer                               the next is asked; this one again later
//
// If every place answered and none has the accepted commit any more, it was taken back everywhere: that is refused too.
func (s *Source) poll(ctx context.Context, order []*place) (Revision, *place, error) {
	if err := s.remake(); err != nil {
		return Revision{}, nil, fmt.Errorf("making the clone in %s again: %w", s.clone.dir, err)
	}
	if s.suspect.Swap(false) {
		s.whole = plumbing.ZeroHash
		for _, p := range s.places {
			p.seen = ""
		}
		if err := s.clone.mend(); err != nil {
			s.suspect.Store(true)
			return Revision{}, nil, fmt.Errorf("healing the clone in %s: %w", s.clone.dir, err)
		}
	}
	var silent []error
	var told *place
	for i, p := range order {
		rev, err := s.try(ctx, p)
		if err != nil && ctx.Err() != nil {
			return Revision{}, nil, err
		}
		s.judge(p, err)
		var no *refusal
		switch {
		case err == nil:
			s.forget(p, order[i+1:])
			return rev, p, nil
		case !errors.As(err, &no):
			silent = append(silent, err)
		case p == s.places[0] && !no.behind:
			return Revision{}, p, err
		case told == nil || p == s.places[0]:
			told = p
		}
	}
	switch {
	case told == nil:
		return Revision{}, nil, errors.Join(silent...)
	case len(silent) == 0:
		return Revision{}, told, told.refused
	}
	rev, _ := s.Accepted()
	return rev, told, nil
}

// forget drops what was wrong with places that nobody asks as long as p answers.
func (s *Source) forget(p *place, unasked []*place) {
	for _, q := range unasked {
		if slices.Index(s.places, q) > slices.Index(s.places, p) {
			q.says = ""
		}
	}
}

// judge notes how a place answered, and says it once if others are there to answer instead.
func (s *Source) judge(p *place, err error) {
	before := p.says
	var no *refusal
	switch {
	case err == nil:
		p.says, p.failures, p.next = "", 0, time.Time{}
	case errors.As(err, &no):
		p.says, p.failures, p.next = no.mild(), 0, time.Time{}
	default:
		p.says = err.Error()
		p.failures++
		p.next = time.Now().Add(pause(s.interval, p.failures, 0.5))
	}
	if p.says == before || len(s.places) == 1 {
		return
	}
	if p.says == "" {
		s.log.Info("a repository is well again", "url", p.url)
	} else {
		s.log.Warn("a repository isn't followed for now", "url", p.url, "because", p.says)
	}
}

// mild is the refusal where another place knows better.
func (r *refusal) mild() string {
	if r.behind {
		return fmt.Sprintf("its %s is at commit %s, behind the accepted %s: nothing new there", r.branch, r.offered.String()[:12], r.accepted.String()[:12])
	}
	return fmt.Sprintf("its %s is at commit %s, which doesn't descend from the accepted %s: nothing new there", r.branch, r.offered.String()[:12], r.accepted.String()[:12])
}

// Accept takes the commit id, which must be what one of the repositories offers, though it doesn't descend from the
// accepted one. take gets it, and the commit that it replaces, and does the step: what it writes itself, and what
// the step writes, is written wholly or not at all.
func (s *Source) Accept(ctx context.Context, id string, take func(rev, instead Revision, step func() error) error) (Revision, error) {
	if !plumbing.IsHash(id) {
		return Revision{}, fmt.Errorf("%q is no full commit id of 40 digits: only that says for sure which commit is meant", id)
	}
	if err := s.begin(ctx); err != nil {
		return Revision{}, err
	}
	defer s.end()
	want := plumbing.NewHash(id)
	var others []string
	for _, p := range s.places {
		tip, err := s.tip(ctx, p)
		switch {
		case err != nil:
			others = append(others, err.Error())
		case tip != want:
			others = append(others, fmt.Sprintf("%s offers %s", p.url, tip))
		default:
			rev, err := s.take(ctx, p, want, take)
			if err == nil {
				s.judge(p, nil)
				s.note(p, nil)
				s.Wake() // a Run tells of it
			}
			return rev, err
		}
	}
	return Revision{}, fmt.Errorf("commit %s isn't the newest of %s, and only that can be accepted: %s", id, s.branch, strings.Join(others, "; "))
}

// take fetches and accepts a commit that p offers.
func (s *Source) take(ctx context.Context, p *place, want plumbing.Hash, take func(rev, instead Revision, step func() error) error) (Revision, error) {
	last, had := s.Accepted()
	if last.ID == want.String() {
		return last, nil
	}
	if s.clone.complete(want) != nil {
		if err := s.getAlone(ctx, p, want); err != nil {
			return Revision{}, err
		}
		if err := s.clone.complete(want); err != nil {
			return Revision{}, fmt.Errorf("%s sent commit %s without all that it needs: %w", p.url, want, err)
		}
	}
	if descends, err := s.clone.descends(want, plumbing.NewHash(last.ID)); had && (err != nil || !descends) {
		rev, err := s.clone.revision(want)
		if err == nil {
			err = take(rev, last, func() error { return s.noted(want) })
		}
		if err != nil {
			return Revision{}, err
		}
		s.follow(rev)
		return rev, nil
	}
	return s.accept(want)
}

// remake makes the clone again if somebody removed it: what was accepted is known here.
func (s *Source) remake() error {
	if _, err := os.Stat(filepath.Join(s.clone.dir, "HEAD")); !errors.Is(err, fs.ErrNotExist) {
		return nil // whatever else is wrong is found where it is read
	}
	s.log.Warn("the clone was removed, and is made again", "dir", s.clone.dir)
	if err := s.clone.make(); err != nil {
		return err
	}
	s.suspect.Store(true)
	last, known := s.Accepted()
	if !known {
		return nil
	}
	return s.clone.accept(plumbing.NewHash(last.ID))
}
