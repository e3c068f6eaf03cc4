package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The files in testdata/former are answers of an agent before `rolled back` and `rejected` were words of its own.
func TestAnswersOfAFormerAgent(t *testing.T) {
	read := func(name string, into any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("testdata", "former", name))
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var rolling, idle Status
	read("status-returning.json", &rolling)
	if v, why := rolling.Verdict(); v != Deploying || why != "rolling back to a" {
		t.Errorf("while it rolls back: %s: %s", v, why)
	}
	read("status.json", &idle)
	if v, why := idle.Verdict(); v != RolledBack || why != "d: system: died; a runs" {
		t.Errorf("after that: %s: %s", v, why)
	}
	if p := idle.Problems; len(p) != 1 || !p[0].Transient || !p[0].Unrelated {
		t.Errorf("problems %+v, want a transient, unrelated one", p)
	}
	idle.Failed = nil
	read("../status.golden.json", &idle) // of today
	if len(idle.Failed) != 1 || idle.Failed[0].Outcome != OutcomeRejected {
		t.Errorf("failed: %+v", idle.Failed)
	}

	var plan, plans Plan
	read("plan.json", &plan)
	read("plans.json", &plans)
	if plan.Rejected != "system:1: bad" || len(plans.Plans) != 1 || plans.Plans[0].State != PlanRejected {
		t.Errorf("plan %+v, plans %+v", plan, plans)
	}

	var past []Deployment
	read("history.json", &past)
	var outcomes []string
	for _, d := range past {
		outcomes = append(outcomes, d.Outcome)
	}
	if want := []string{"underway", OutcomeRolledBack, OutcomeRejected, "good"}; !slices.Equal(outcomes, want) {
		t.Errorf("history %q, want %q", outcomes, want)
	}
}
