package main

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all that people can call, the root first; not cobra's own, nor what only the agent runs.
func commands(t *testing.T) []*cobra.Command {
	t.Helper()
	root := rootCmd(&cli{out: io.Discard, err: io.Discard})
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		switch {
		case c.Hidden:
		case c.HasSubCommands():
			all = append(all, c.Commands()...)
		default:
			all = append(all, c)
		}
	}
	if len(all) < 10 {
		t.Fatalf("%d commands: are these all?", len(all))
	}
	return all
}

func TestEachCommandSaysWhatItDoesAndShowsIt(t *testing.T) {
	for _, c := range commands(t) {
		switch {
		case c.Short == "" || strings.HasSuffix(c.Short, "."):
			t.Errorf("%s is short for %q, want a line without a full stop", c.Name(), c.Short)
		case c.Short[:1] != strings.ToUpper(c.Short[:1]):
			t.Errorf("%s: %q begins with a small letter", c.Name(), c.Short)
		}
		if c.HasParent() && !strings.HasPrefix(c.Example, "  collie "+name(c)) {
			t.Errorf("%s has the example %q, want lines like \"  collie %s …\"", c.Name(), c.Example, c.Name())
		}
		if c.HasParent() && c.Args == nil && !strings.Contains(c.Use, "…") {
			t.Errorf("%s takes any arguments in silence", c.Name())
		}
	}
}

// Each example is a command that exists, with flags and arguments that it takes.
func TestExamplesAreRightUsage(t *testing.T) {
	seen := 0
	for _, c := range commands(t) {
		for line := range strings.Lines(c.Example) {
			for _, part := range strings.Split(line, "&&") {
				words := strings.Fields(part)
				if len(words) == 0 || words[0] != "collie" {
					continue
				}
				seen++
				root := rootCmd(&cli{out: io.Discard, err: io.Discard}) // flags are kept from one parse to the next
				found, args, err := root.Find(words[1:])
				if err != nil || found == root {
					t.Errorf("%q: no such command (%v)", part, err)
					continue
				}
				if err := found.ParseFlags(args); err != nil {
					t.Errorf("%q: %v", part, err)
				}
				if err := found.ValidateArgs(found.Flags().Args()); err != nil {
					t.Errorf("%q: %v", part, err)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("%d examples were found", seen)
	}
}

// The table of exit codes is whole, in the code and in the help.
func TestExitCodesAreOneTable(t *testing.T) {
	help := commands(t)[0].Long
	var codes []int
	for _, e := range exitCodes {
		codes = append(codes, e.code)
		if line := "  " + strconv.Itoa(e.code) + "  " + e.means + "\n"; !strings.Contains(help, line) {
			t.Errorf("the help doesn't have %q", line)
		}
	}
	if want := []int{exitDone, exitFailed, exitUsage, exitPending, exitRejected, exitNoVerdict}; !slices.Equal(codes, want) || !slices.Equal(codes, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("the codes are %v, want %v", codes, want)
	}
}

// name is that of a command, and of the one it is below.
func name(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "collie ") }

// Programs need JSON where people get text.
func TestWhatTellsTellsJSONToo(t *testing.T) {
	for _, c := range commands(t) {
		tells := slices.Contains([]string{"status", "plan", "sync", "restart", "history", "generations", "version", "doctor", "key"}, c.Name())
		if got := c.Flags().Lookup("json") != nil; got != tells {
			t.Errorf("%s has --json: %v, want %v", c.Name(), got, tells)
		}
	}
}
