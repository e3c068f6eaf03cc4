package podman

import (
	"fmt"
	"strings"
	"testing"
)

// A plan tells what a switch will do; and once that is done, nothing more.
func TestThePlanOfARevision(t *testing.T) {
	w := newWorld(t)
	now := w.deploy("r1", newPod("gone"), newPod("same"), newPod("web", env("A", "one"), hostPort(8087)))
	to := w.prepare("r2", newPod("new"), newPod("same"), newPod("web", env("A", "two"), hostPort(8087)))
	told := func(from, to Rendered) (lines []string) {
		changes, err := w.Plan(t.Context(), from, to)
		w.must(err)
		for _, c := range changes {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %t\n%s", c.Does, c.Subject, c.Harmless, c.Diff)))
		}
		return lines
	}
	before := w.containers("gone", "same", "web")
	w.same("plan", told(now, to), []string{
		"create pod new false",
		"replace pod web false\nspec.containers[c].env[A].value: one → two",
		"remove pod gone false",
	})
	w.same("containers after a plan", w.containers("gone", "same", "web"), before)
	to.Claims = []string{"data"}
	w.same("with a claim more", told(Rendered{Claims: []string{"old"}, Pods: now.Pods}, to)[3:], []string{"create claim data true", "leave claim old true"})
	to.Claims = nil
	w.switchTo(to)
	w.same("plan after the switch", told(to, to), nil)
	w.same("plan of what isn't known", told(Rendered{}, now)[1:], []string{"replace pod web false", "remove pod new false"})
}
