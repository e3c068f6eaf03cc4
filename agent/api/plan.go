package api

import (
	"fmt"
	"strings"

	"example.org/collie/agent/foreign"
)

// costs are the groups of a plan, the dearest first.
var costs = []struct{ cost, title string }{
	{CostRunning, "what runs"},
	{CostBoot, "at the next boot"},
	{"", "without touching what runs"},
}

// Text is the plan as a person reads it.
func (p Plan) Text() string {
	if p.Name != "" {
		return p.proposalText()
	}
	text := "Nothing waits.\n"
	switch {
	case p.Revision != "":
		text = fmt.Sprintf("Revision %s waits (%s) and would change:\n%s", Short(p.Revision), p.Because, p.layersText())
	case p.Preparing != nil:
		text = ""
	}
	if at := p.Preparing; at != nil && at.Error != "" {
		text += fmt.Sprintf("Revision %s %s\n", Short(at.Revision), plain(at.Waits()))
		for _, name := range at.WaitsFor {
			text += "  " + plain(name) + "\n"
		}
	} else if at != nil {
		text += fmt.Sprintf("Revision %s %s\n", Short(at.Revision), at.Text())
	}
	return text + p.plansText()
}

func (p Plan) layersText() string {
	var b strings.Builder
	for _, l := range p.Layers {
		if l.Unknown != "" {
			fmt.Fprintf(&b, "%s: what would change isn't known: %s\n", l.Name, strings.ReplaceAll(plain(l.Unknown), "\n", "\n  "))
		} else if len(l.Changes) == 0 {
			fmt.Fprintf(&b, "%s: nothing\n", l.Name)
		}
		for _, c := range costs {
			if text := changesText(l.Changes, c.cost); text != "" {
				fmt.Fprintf(&b, "%s, %s:\n%s", l.Name, c.title, text)
			}
		}
		if l.Work != (Work{}) {
			fmt.Fprintf(&b, "%s, prepared: %s\n", l.Name, l.Work)
		}
	}
	return b.String()
}

// changesText has a row for each change of that cost, and below it the diff. Those that differ in nothing but a name
// share one.
func changesText(changes []Change, cost string) string {
	const indent = "            "
	var b strings.Builder
	for i := 0; i < len(changes); i++ {
		c := changes[i]
		if c.Cost != cost {
			continue
		}
		n := alike(changes[i:])
		for _, more := range changes[i+1 : i+n] {
			_, name, _ := strings.Cut(more.Subject, " ")
			c.Subject += ", " + name
		}
		if kind, names, _ := strings.Cut(c.Subject, " "); n > 1 {
			c.Subject = kind + "s " + names
		}
		i += n - 1
		text := strings.TrimPrefix(c.String(), c.Does+" ")
		fmt.Fprintf(&b, "  %-9s %s\n", plain(c.Does), strings.ReplaceAll(plain(text), "\n", "\n"+indent))
		if c.Diff != "" {
			lines := strings.Split(strings.TrimSuffix(c.Diff, "\n"), "\n")
			for _, line := range lines {
				fmt.Fprintf(&b, "%s%s\n", indent, foreign.Text(line))
			}
		}
	}
	return b.String()
}

// alike is how many changes, from the first on, differ only in the name of what they are about.
func alike(changes []Change) int {
	first := changes[0]
	kind, _, named := strings.Cut(first.Subject, " ")
	if !named || first.Diff != "" || first.values() != "" {
		return 1
	}
	n := 1
	for ; n < len(changes); n++ {
		next := changes[n]
		nextKind, _, _ := strings.Cut(next.Subject, " ")
		next.Subject = first.Subject
		if next != first || nextKind != kind {
			break
		}
	}
	return n
}
