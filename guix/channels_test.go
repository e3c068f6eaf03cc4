package guix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"example.org/collie/agent/mistake"
)

var commitA, commitB, commitC = strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)

func channelAt(commit string) string {
	return fmt.Sprintf("(list (channel\n  (name 'guix)\n  (url \"https://example.org/guix.git\")\n  (commit\n   %q)))\n", commit)
}

func TestCheckChannels(t *testing.T) {
	tests := map[string]struct {
		text string
		line int    // of the mistake; 0 if there is none
		want string // in what it says
	}{
		"as guix describe writes it": {"(list (channel\n        (name 'guix)\n        (url \"https://example.org/guix.git\")\n        (branch \"master\")\n        (commit\n          \"" + commitA + "\")\n" +
			"        (introduction\n          (make-channel-introduction\n            \"" + commitB + "\"\n            (openpgp-fingerprint\n              \"BBB0 2DDF\")))))\n", 0, ""},
		"with a module and comments": {";; ours (list\n(use-modules (guix channels))\n(cons* " + channelAt(commitA)[6:], 0, ""},
		"two":                        {"(append " + channelAt(commitA) + channelAt(commitB) + ")", 0, ""},
		"no channel":                 {"(list)", 1, "names no channel"},
		"empty":                      {"", 1, "names no channel"},
		"no commit":                  {"\n(list (channel (name 'guix) (url \"x\")))", 2, "channel guix has no (commit"},
		"the commit in a comment":    {"(list (channel (name 'guix)) ; (commit \"" + commitA + "\")\n)", 1, "has no (commit"},
		"a commit that is no string": {"(list (channel (name 'guix) (commit " + commitA + ")))", 1, "has no (commit"},
		"a short commit":             {"(list (channel (name 'guix) (commit \"aaaaaaa\")))", 1, `"aaaaaaa" isn't a full commit`},
		"a tag":                      {"(list (channel (name 'guix) (commit \"v1.5.0\")))", 1, "isn't a full commit"},
		"the second has none":        {"(append " + channelAt(commitA) + "(list (channel (name 'my))))", 6, "channel my has no"},
		"the default channels":       {"(cons* " + channelAt(commitA) + "\n%default-channels)", 7, "%default-channels isn't pinned"},
		"the bare default":           {"%default-channels", 1, "%default-channels isn't pinned"},
		"loaded from elsewhere":      {"(load \"other.scm\")", 1, "(load …) isn't a channel"},
		"a program":                  {"(let ((commit (newest))) (list (channel (commit commit))))", 1, "(let …) isn't a channel"},
		"inherited":                  {"(list (channel (inherit mine) (name 'guix) (commit \"" + commitA + "\")))", 1, "(inherit …) isn't a channel"},
		"not closed":                 {"(list\n (channel", 2, "closing parenthesis is missing\n  hint: close the list"},
		"closed twice":               {channelAt(commitA) + ")", 6, "too many\n  hint: remove it"},
		"a string not closed":        {"(list \"", 1, "isn't closed\n  hint: end it"},
		"a quote before nothing":     {"(list ')", 1, "nothing follows the quote\n  hint: write a name"},
		"a reader's syntax":          {"#.(system \"x\")", 1, "has Scheme syntax (#) that a list of channels doesn't need\n  hint: write out"},
		"deep":                       {strings.Repeat("(list ", 1000), 1, "nested too deeply, or too long\n  hint: write out"},
		"all mistakes": {"(list (channel (name 'guix))\n (channel (name 'my) (commit \"v1\"))\n %default-guix-channel)\n(load \"x\")", 1, "channel guix has no (commit \"…\")\n  hint: pin the Guix you have with `guix describe -f channels > channels.scm`\n" +
			"channels.scm:2: channel my: \"v1\" isn't a full commit of 40 digits\n  hint: pin the Guix you have with `guix describe -f channels > channels.scm`\n" +
			"channels.scm:3: %default-guix-channel isn't pinned: it is the newest commit, another one each day\n  hint: pin the Guix you have with `guix describe -f channels > channels.scm`\n" +
			"channels.scm:4: (load …) isn't a channel"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckChannels(test.text)
			if test.line == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wrong := mistake.Of(err)
			if len(wrong) == 0 {
				t.Fatal("error:", err)
			}
			// How to pin is the hint where that is what is wrong, and not where a parenthesis is missing.
			if wrong[0].File != "channels.scm" || wrong[0].Line != test.line || !strings.Contains(err.Error(), test.want) || wrong[0].Hint == "" ||
				strings.Contains(test.want, "hint: ") != !strings.Contains(wrong[0].Hint, "guix describe -f channels > channels.scm") && name != "all mistakes" {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzCheckChannels(f *testing.F) {
	f.Add(channelAt(commitA))
	f.Add("(list \x1b\u009b)")
	f.Add("(cons* '(quote \"x\") %default-channels) ; [")
	f.Fuzz(func(t *testing.T, text string) {
		if err := CheckChannels(text); err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
				t.Errorf("a terminal obeys %q", err)
			}
			return
		}
		all := channelsOf(text)
		if len(all) == 0 {
			t.Fatalf("%q passes, but names no channel", text)
		}
		for name, commit := range all {
			if !fullCommit.MatchString(commit) {
				t.Errorf("%q passes, but channel %q is at %q", text, name, commit)
			}
		}
	})
}

// profile makes what guix time-machine answers with.
func (m *machine) profile(letter string) string {
	profile := m.path("gnu/store/" + strings.Repeat(letter, 32) + "-profile")
	m.write(strings.TrimPrefix(profile, m.root+"/")+"/bin/guix", "#!/bin/sh\necho "+letter+" $1 $2 >>"+m.path("fake/profiles")+"\nexec "+filepath.Join(m.bin, "guix")+" \"$@\"")
	if err := os.Chmod(filepath.Join(profile, "bin/guix"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	entry := "var/guix/profiles/per-user/root/inferiors/" + strings.Repeat(letter, 52)
	if err := os.MkdirAll(filepath.Dir(m.path(entry)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.link(profile, entry)
	m.now("profile", m.path(entry)+"\n")
	return profile
}

func TestPin(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "system")
	s := m.system(a)
	tree := m.tree(a)
	pin := func() string {
		t.Helper()
		profile, err := s.Runner.Pin(t.Context(), tree, s.current(), nil, s.Roots, Watch{})
		if err != nil {
			t.Fatal(err)
		}
		return profile
	}
	if got := pin(); got != "" || len(m.calls()[0]) != 0 {
		t.Errorf("where nobody names channels: %q, after %q", got, m.calls())
	}

	m.write(strings.TrimPrefix(a, m.root+"/")+"/channels.scm", channelAt(commitA))
	one := m.profile("1")
	if got := pin(); got != one {
		t.Errorf("the running system's: %q", got)
	}
	m.write(strings.TrimPrefix(tree, m.root+"/")+"/channels.scm", channelAt(commitB))
	two := m.profile("2")
	if got := pin(); got != two {
		t.Errorf("the tree's: %q", got)
	}
	before := len(m.calls())
	if got := pin(); got != two || len(m.calls()) != before {
		t.Errorf("%q again, by %q", got, m.calls()[before:])
	}
	if err := s.Roots.KeepPins(map[string]bool{two: true}); err != nil {
		t.Fatal(err)
	}
	if kept, _ := s.Roots.List(); len(kept) != 1 {
		t.Errorf("roots %v", kept)
	}
}

func TestPinThatFails(t *testing.T) {
	const updating = "Updating channel 'guix' from Git repository at 'https://example.org/guix.git'...\n"
	tests := map[string]struct {
		text, says string // what channels.scm holds, what guix says (1.5.0)
		bad, want  string // of the commit; of whom else
	}{
		"not pinned": {"(list (channel (name 'guix)))", "", "channels.scm:1: channel guix has no (commit \"…\")\n  hint: " + pinHint, ""},
		"too large":  {strings.Repeat(" ", channelsLimit+1), "", "channels.scm:1: is larger than 64 KiB\n  hint: " + writeOut, ""},
		"no such commit": {channelAt(commitA), updating + "guix time-machine: error: Git error: object not found - no match for id (aaaa)\n",
			"channels.scm: Git error: object not found - no match for id (aaaa)", ""},
		"too old": {channelAt(commitA), updating + "guix time-machine: error: cannot travel past commit `4a0b87f0ec5b' from May 1st, 2019\n",
			"channels.scm: cannot travel past commit `4a0b87f0ec5b' from May 1st, 2019", ""},
		"no network": {channelAt(commitA), updating + "Backtrace:\n           4 (getaddrinfo \"archive.softwareheritage.org\" \"https\" 0 #<undefined> #<undefined> #<undefined>)\n" +
			"\nguix/ui.scm:920:18: In procedure getaddrinfo: Temporary failure in name resolution\n", "", "a name can't be resolved"},
		"a server away":       {channelAt(commitA), updating + "guix time-machine: error: Git error: failed to connect to 127.0.0.1: Connection refused\n", "", "the repository of a channel can't be reached"},
		"guix answers nought": {channelAt(commitA), "", "", "named no profile"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			a := m.item("a", "system")
			s := m.system(a)
			tree := m.tree(a)
			m.write(strings.TrimPrefix(tree, m.root+"/")+"/channels.scm", test.text)
			if test.says != "" {
				m.now("says", test.says)
				m.now("code", "1")
			}
			_, err := s.Runner.Pin(t.Context(), tree, s.current(), nil, s.Roots, Watch{})
			if err == nil {
				t.Fatal("no error")
			}
			if bad := (*BuildError)(nil); (errors.As(err, &bad) || mistake.Of(err) != nil) != (test.bad != "") || test.bad != "" && err.Error() != test.bad {
				t.Errorf("blames the commit: %v", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if kept, _ := s.Roots.List(); len(kept) != 0 {
				t.Errorf("roots %v", kept)
			}
		})
	}
}

// from makes the item say of which commit it is, as its provenance does.
func (m *machine) from(item, commit string) string {
	m.write(strings.TrimPrefix(item, m.root+"/")+"/channels.scm", channelAt(commit))
	return item
}

func TestChannelsGoForwardAndBack(t *testing.T) {
	m := newMachine(t)
	a, b := m.from(m.item("a", "system"), commitA), m.from(m.item("b", "system"), commitB)
	s := m.system(a)
	s.Guix = m.profile("1")
	treeB := m.tree(b)
	if err := s.CheckForward(t.Context(), treeB, nil, Watch{}); err != nil {
		t.Fatal(err)
	}
	wantChannel(t, s, b, Change{"update", "channel guix", "aaaaaaaaaaaa → bbbbbbbbbbbb"})
	if err := s.Switch(t.Context(), b, treeB); err != nil {
		t.Fatal(err)
	}
	if got, want := m.calls()[len(m.calls())-1], "system reconfigure --allow-downgrades "+treeB+"/system.scm"; got != want {
		t.Errorf("called as %q, want %q", got, want)
	}
	if by, _ := os.ReadFile(m.path("fake/profiles")); string(by) != "1 system reconfigure\n1 system reconfigure\n" {
		t.Errorf("the profile's guix did %q", by)
	}
	wantDiff(t, s, b)

	// The way back is known without asking guix.
	before := len(m.calls())
	if err := s.CheckForward(t.Context(), m.tree(a), nil, Watch{}); err != nil || len(m.calls()) != before {
		t.Errorf("%v, after %q", err, m.calls()[before:])
	}
	wantChannel(t, s, a, Change{"downgrade", "channel guix", "bbbbbbbbbbbb → aaaaaaaaaaaa"})
	s.Downgrades = false
	err := s.CheckForward(t.Context(), m.tree(a), nil, Watch{})
	if wrong := mistake.Of(err); len(wrong) != 1 || wrong[0].File != "channels.scm" || !strings.Contains(err.Error(), "downgrades: false") {
		t.Error("error:", err)
	}
	if err := s.CheckForward(t.Context(), m.tree(a), []string{b, m.path("gone"), a}, Watch{}); err != nil { // a revert to what was good
		t.Error(err)
	}
	if err := s.CheckForward(t.Context(), m.tree(a), []string{b, m.path("gone")}, Watch{}); err == nil {
		t.Error("it goes back to where no good system was")
	}
	if err := s.Switch(t.Context(), a, ""); err != nil { // a return isn't asked
		t.Error(err)
	}
}

func wantChannel(t *testing.T, s *System, item string, want Change) {
	t.Helper()
	changes, err := s.Diff(t.Context(), item)
	if err != nil || len(changes) < 2 || changes[1] != want {
		t.Errorf("%v, %v; want %v", changes, err, want)
	}
}

func TestWhatGuixSaysOfChannels(t *testing.T) {
	tests := map[string]struct {
		says, want string
		refused    bool
	}{
		"nothing":   {"", "update", false},
		"back":      {"guix system: warning: rolling back channel 'guix' from " + commitB + " to " + commitC + "\n", "downgrade", true},
		"aside":     {"guix system: warning: moving channel 'guix' from " + commitB + " to unrelated commit " + commitC + "\n", "move", true},
		"of others": {"guix system: warning: rolling back channel 'my' from " + commitB + " to " + commitC + "\n", "update", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			b, c := m.from(m.item("b", "system"), commitB), m.from(m.item("c", "system"), commitC)
			s := m.system(b)
			tree := m.tree(c)
			m.now("relations", test.says)
			s.Downgrades = false
			err := s.CheckForward(t.Context(), tree, nil, Watch{})
			if (mistake.Of(err) != nil) != test.refused || (err != nil) != test.refused {
				t.Error("error:", err)
			}
			wantChannel(t, s, c, Change{test.want, "channel guix", "bbbbbbbbbbbb → cccccccccccc"})
			m.write("var/lib/collie/channels.json", "{broken")
			wantChannel(t, s, c, Change{"change", "channel guix", "bbbbbbbbbbbb → cccccccccccc"})
		})
	}
}

// All that a switch needs is in the store: the clones of channels may be gone, and the network.
func TestSwitchWithoutTheClonesOfChannels(t *testing.T) {
	m := newMachine(t)
	a, b := m.from(m.item("a", "system"), commitA), m.from(m.item("b", "system"), commitB)
	s := m.system(a)
	m.now("early", `[ "$2" = reconfigure ] && { echo "Git error: failed to resolve address for example.org"; exit 1; }`)
	if err := s.Switch(t.Context(), b, m.tree(b)); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, b)
	if got := m.calls()[len(m.calls())-1]; got != "system switch-generation 2" {
		t.Errorf("the last call was %q", got)
	}
}

// All but the first home: that Guix has to make a folder for.
func TestHomeIsNotEvaluatedAgain(t *testing.T) {
	m := newMachine(t)
	a, b, c := m.from(m.item("a", "home"), commitA), m.from(m.item("b", "home"), commitA), m.from(m.item("c", "home"), commitB)
	h := m.home()
	for _, step := range []struct{ item, call string }{
		{a, "home reconfigure " + m.tree(a) + "/home.scm"},
		{b, "home switch-generation 2"},
		{c, "home switch-generation 3"},
	} {
		if err := h.Switch(t.Context(), step.item, m.tree(step.item)); err != nil {
			t.Fatal(err)
		}
		if got := m.calls()[len(m.calls())-1]; got != step.call {
			t.Errorf("called as %q, want %q", got, step.call)
		}
	}
}
