package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
)

func statusCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which revision the machine runs, and whether all is well",
		Long: `Show which revision the machine runs, and whether all is well. The first line is the verdict and its reason:

    STUCK        the roll-back to the last good revision failed
    DEPLOYING    a revision is being prepared, switched to, or checked
    ROLLED BACK  the newest revision failed, and the last good one runs
    REJECTED     the newest revision has a mistake, and was never switched to
    DEGRADED     something isn't well, but no revision is to blame
    SUSPENDED    all is well, and new revisions are not deployed
    OK           all is well

On a terminal it is coloured, unless NO_COLOR is set in the environment.`,
		Example: "  collie status\n  collie status --json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.agent.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return c.show(s, "", asJSON)
			}
			verdict, _ := s.Verdict()
			rest := strings.TrimPrefix(s.Text(), string(verdict))
			fmt.Fprint(c.out, coloured(c.out, verdict))
			return c.show(s, rest, asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// coloured is a verdict as a terminal shows it: green, yellow or red. NO_COLOR, if it isn't empty, keeps it plain: no-color.org.
func coloured(out io.Writer, v api.Verdict) string {
	if _, terminal := width(out); !terminal || os.Getenv("NO_COLOR") != "" {
		return string(v)
	}
	colour := 33 // yellow
	switch v {
	case api.OK:
		colour = 32
	case api.Stuck, api.RolledBack, api.Rejected:
		colour = 31
	}
	return fmt.Sprintf("\x1b[1;%dm%s\x1b[0m", colour, v)
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// progress is where to show how far something is. Who reads JSON gets none.
func (c *cli) progress(asJSON bool) io.Writer {
	if asJSON {
		return io.Discard
	}
	return c.err
}

// show prints an answer, for a person or for a program.
func (c *cli) show(v any, text string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprint(foreign.Writer{Writer: c.out}, text)
		return err
	}
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
