package source

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// A plan is a branch plan/NAME, in addition to the followed one. Its newest commit is read under the same rules, so that
// it can be shown what it would change, but it is never accepted:
//
//	what the branch holds                   what it is
//	a commit that descends from the         a plan
//	accepted one
//	the accepted commit, or one before it   no plan any more: it was merged
//	any other commit                        refused until it is put on top of the accepted one
//	nothing                                 no plan any more

// planBranch begins the names of their branches.
const planBranch = "plan/"

// mostPlans bounds what all that may push a branch can have the machine build and keep.
const mostPlans = 8

var tooMany = fmt.Sprintf("there are more than %d plans: delete the branches of some", mostPlans)

var planName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

// CheckPlanName says what is wrong with a name for a plan.
func CheckPlanName(name string) error {
	if !planName.MatchString(name) {
		return fmt.Errorf("%q is no name of a plan: push a branch plan/NAME, with a NAME of letters, digits, '.', '_' and '-', and at most 63 of them", name)
	}
	return nil
}

// PlanOf is the name of the plan that a branch is, if it is one.
func PlanOf(branch string) (name string, is bool) { return strings.CutPrefix(branch, planBranch) }

// A Plan is the newest commit of a branch plan/NAME.
type Plan struct {
	Name     string   `json:"name"`
	Revision Revision `json:"revision"`          // of a refused one only the ID is sure
	Refused  string   `json:"refused,omitempty"` // why it isn't read
}

// plans are what the last polls learned of the plans.
type plans struct {
	known  map[string]Plan // by name
	judged plumbing.Hash   // the accepted commit from which they have to descend
	times  int             // how often that has changed
	told   int             // what times was when they were last told
}

// Plans are those of the last poll that went well, by name.
func (s *Source) Plans() []Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans.list()
}

func (p plans) list() []Plan {
	return slices.SortedFunc(maps.Values(p.known), func(x, y Plan) int { return strings.Compare(x.Name, y.Name) })
}

// tellPlans calls tell with the plans if they have changed, and when they are first known.
func (s *Source) tellPlans(tell func([]Plan)) {
	s.mu.Lock()
	list, news := s.plans.list(), s.plans.times > s.plans.told
	s.plans.told = s.plans.times
	s.mu.Unlock()
	if news && tell != nil {
		tell(list)
	}
}

// changes counts how often the plans have changed.
func (s *Source) changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans.times
}

// planTips are the newest commits of the plans that were read.
func (s *Source) planTips() (tips []plumbing.Hash) {
	for _, p := range s.Plans() {
		if p.Refused == "" {
			tips = append(tips, plumbing.NewHash(p.Revision.ID))
		}
	}
	return tips
}

// readPlans reads the plans that p offers, as far as they are new. It fails if one couldn't be fetched; the others are
// known all the same.
func (s *Source) readPlans(ctx context.Context, p *place) error {
	rev, _ := s.Accepted()
	accepted := plumbing.NewHash(rev.ID)
	s.mu.Lock()
	before := s.plans
	s.mu.Unlock()
	after := map[string]Plan{}
	var failed error
	for _, name := range planNames(p.offers, before.known) {
		tip := p.offers[planBranch+name]
		plan, known := before.known[name]
		switch {
		case known && plan.Revision.ID == tip.String() && before.judged == accepted && plan.Refused != tooMany && (plan.Refused != "" || s.clone.complete(tip) == nil):
		case len(after) == mostPlans:
			plan = Plan{name, Revision{ID: tip.String()}, tooMany}
		default:
			merged, refused, err := s.readPlan(ctx, p, name, tip, accepted)
			if merged {
				continue
			}
			if ctx.Err() != nil {
				return err
			}
			if err != nil {
				failed, refused = err, err.Error()
			}
			plan = Plan{name, Revision{ID: tip.String()}, refused}
			if refused == "" {
				if plan.Revision, err = s.clone.revision(tip); err != nil {
					return fmt.Errorf("reading commit %s: %w", tip, err)
				}
			}
		}
		after[name] = plan
	}
	if failed != nil {
		accepted = plumbing.ZeroHash // all are judged again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(before.known, after) || before.times == 0 {
		s.plans.times++
	}
	s.plans.known, s.plans.judged = after, accepted
	return failed
}

// planNames are the names of the plans among all branches: first those that are known, so that they don't give way to a newer
// one. A name that is none is passed over.
func planNames(all branches, known map[string]Plan) []string {
	var first, last []string
	for _, branch := range slices.Sorted(maps.Keys(all)) {
		name, is := PlanOf(branch)
		if !is || CheckPlanName(name) != nil {
			continue
		}
		if p, ok := known[name]; ok && p.Refused == "" {
			first = append(first, name)
		} else {
			last = append(last, name)
		}
	}
	return append(first, last...)
}

// readPlan brings the newest commit of a plan into the clone, whole, unless it was merged or is refused.
func (s *Source) readPlan(ctx context.Context, p *place, name string, tip, accepted plumbing.Hash) (merged bool, refused string, err error) {
	if merged, err = s.clone.descends(accepted, tip); merged || err != nil {
		return merged, "", err
	}
	// As with the followed branch: the server left out no commit between the accepted one and the tip.
	if s.clone.complete(tip) != nil {
		if err := s.getPlan(ctx, p, name, tip, 0, accepted); err != nil {
			return false, "", err
		}
	}
	descends, err := s.clone.descends(tip, accepted)
	if err != nil {
		return false, "", fmt.Errorf("reading the history of plan/%s: %w", name, err)
	}
	if !descends {
		return false, fmt.Sprintf("it doesn't descend from the accepted commit %s: put it on top of that (git rebase), or delete the branch", accepted.String()[:12]), nil
	}
	if s.clone.complete(tip) != nil {
		if err := s.getPlan(ctx, p, name, tip, 1, plumbing.ZeroHash); err != nil {
			return false, "", err
		}
	}
	return false, "", s.clone.complete(tip)
}

func (s *Source) getPlan(ctx context.Context, p *place, name string, want plumbing.Hash, depth int, have plumbing.Hash) error {
	branch := planBranch + name
	err := s.within(ctx, s.transfer, "fetching "+branch+" from "+p.url, func(ctx context.Context) error {
		got, err := fetch(ctx, p, branch, s.clone, depth, have)
		if err == nil && got != want {
			err = fmt.Errorf("it moved to %s meanwhile", got)
		}
		return err
	})
	if err != nil {
		s.clone.sweep() // what the broken transfer left
	}
	return err
}
