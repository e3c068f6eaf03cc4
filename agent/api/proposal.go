package api

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// proposalText is the plan of a branch plan/NAME.
func (p Plan) proposalText() string {
	what := fmt.Sprintf("Plan %s, revision %s, ", p.Name, Short(p.Revision))
	switch {
	case p.Rejected != "":
		return what + "can't be deployed: " + strings.ReplaceAll(plain(p.Rejected), "\n", "\n  ") + "\n"
	case p.Preparing != nil:
		return what + p.Preparing.Text() + "\n"
	}
	return what + "would change:\n" + p.layersText()
}

// Text says how far a preparation is, after the name of what is prepared.
func (p Preparing) Text() string {
	if p.Error != "" {
		return fmt.Sprintf("%s at %s: %s", p.again(), p.Retry.Local().Format(time.TimeOnly), plain(p.Error))
	}
	return "is being prepared: " + plain(p.Progress.String())
}

// plansText lists the plans, if there are any.
func (p Plan) plansText() string {
	if len(p.Plans) == 0 {
		return ""
	}
	var b strings.Builder
	rows := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(rows, "PLAN\tREVISION\tSTATE\tSUBJECT")
	for _, proposal := range p.Plans {
		says := proposal.Subject
		if proposal.Says != "" {
			says, _, _ = strings.Cut(plain(proposal.Says), "\n")
		}
		fmt.Fprintf(rows, "%s\t%s\t%s\t%s\n", proposal.Name, Short(proposal.Revision), proposal.State, plain(says))
	}
	rows.Flush() // into memory: it doesn't fail
	return "\n" + b.String()
}
