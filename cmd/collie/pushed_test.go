package main

import (
	"strings"
	"testing"
)

// Whatever a hook is told, what it asks the agent for is a branch at a commit, and little of it.
func FuzzPushedRefs(f *testing.F) {
	old, new := strings.Repeat("1", 40), strings.Repeat("2", 40)
	f.Add(old + " " + new + " refs/heads/main\n")
	f.Add(new + " " + strings.Repeat("0", 40) + " refs/heads/gone\n" + old + " " + new + " refs/tags/v1\n")
	f.Add(strings.Repeat(old+" "+new+" refs/heads/x\n", 20))
	f.Add("a\x00b \xff\n\n  \n" + strings.Repeat("x", 70000))
	f.Fuzz(func(t *testing.T, text string) {
		all := pushedRefs(strings.NewReader(text))
		if len(all) > hookRefs {
			t.Errorf("%d refs", len(all))
		}
		for _, p := range all {
			if !strings.HasPrefix(p.ref, "refs/heads/") || strings.Trim(p.commit, "0") == "" || strings.ContainsAny(p.ref+p.commit, " \t\n") {
				t.Errorf("%+v of %q", p, text)
			}
		}
	})
}
