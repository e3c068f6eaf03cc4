package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
	"example.org/collie/guix"
)

const (
	updateName = "update" // of the plan
	mostNews   = 20       // entries of a channel that are shown
	mostRows   = 200      // of what a plan changes
)

func updateCmd(c *cli) *cobra.Command {
	u := updater{cli: c}
	cmd := &cobra.Command{
		Use:   "update [DIR]",
		Short: "Propose newer commits of the channels, as the branch plan/update",
		Long: "Ask the repositories of the channels for their newest commits, write these to channels.scm, and push that as the branch\n" +
			"plan/update. The agent prepares it. Then the commit's message lists the news of the channels, the changed versions, and the\n" +
			"growth of the system and the homes. Nothing is deployed before you merge that branch. DIR is a clone of the repository that\n" +
			"the agent follows. Its files are not changed.",
		Example: "  collie update ~/ops\n  collie update --timeout 3h && git merge --ff-only origin/plan/update",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.dir = "."
			if len(args) > 0 {
				u.dir = args[0]
			}
			return u.update(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&u.remote, "remote", "origin", "the clone's name for the repository that the agent follows")
	cmd.Flags().StringVar(&u.file, "file", "channels.scm", "the file with the channels, for example hosts/web1/channels.scm")
	cmd.Flags().DurationVar(&u.timeout, "timeout", time.Hour, "how long to wait for the agent to prepare it")
	return cmd
}

// An updater proposes newer channels.
type updater struct {
	*cli
	dir, remote, file string
	timeout           time.Duration
}

// A moved is a channel that has a newer commit.
type moved struct {
	guix.Channel
	to   string
	news []string
}

func (u *updater) update(ctx context.Context) error {
	s, err := u.agent.Status(ctx)
	if err != nil {
		return err
	}
	if _, err := u.git(ctx, "", "fetch", "--quiet", u.remote, "refs/heads/"+s.Source.Branch); err != nil {
		return err
	}
	base, err := u.git(ctx, "", "rev-parse", "FETCH_HEAD")
	if err != nil {
		return err
	}
	text, err := u.git(ctx, "", "show", base+":"+u.file)
	if err != nil {
		return fmt.Errorf("%w\n  hint: pin the Guix you have with `guix describe -f channels > %s`, and commit that", err, u.file)
	}
	text += "\n" // git's answers come without it
	all, err := u.newer(ctx, text)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintf(u.out, "%s has the newest commits of all channels.\n", u.file)
		return nil
	}
	commits, subject := map[string]string{}, subjectOf(all)
	for _, m := range all {
		commits[m.Name] = m.to
	}
	next, err := guix.PinChannels(text, commits)
	if err != nil {
		return err
	}
	tree, err := u.tree(ctx, base, next)
	if err != nil {
		return err
	}
	commit, err := u.propose(ctx, base, tree, subject)
	if err != nil {
		return err
	}
	plan, err := u.waitForPlan(ctx, updateName, u.timeout)
	switch {
	case err != nil:
		return fmt.Errorf("plan %s is pushed: %w", updateName, err)
	case plan.Revision != commit:
		return fmt.Errorf("plan %s was pushed by somebody else meanwhile", updateName)
	case plan.Rejected != "":
		return &exitError{exitRejected, fmt.Errorf("plan %s can't be deployed: %s", updateName, plan.Rejected)}
	}
	for i := range all { // Guix fetched them by now
		all[i].news = newsOf(ctx, all[i])
	}
	message := messageOf(subject, all, plan)
	if _, err := u.propose(ctx, base, tree, message); err != nil {
		return err
	}
	fmt.Fprintf(u.out, "%s\nThis is the branch %s%s now. Merge it into %s to deploy it.\n", message, "plan/", updateName, s.Source.Branch)
	return nil
}

// newer asks each channel's repository for its newest commit.
func (u *updater) newer(ctx context.Context, text string) ([]moved, error) {
	channels, err := guix.Channels(text)
	if err != nil {
		return nil, err
	}
	var all []moved
	for _, ch := range channels {
		out, err := u.git(ctx, "", "ls-remote", "--exit-code", "--", ch.URL, "refs/heads/"+ch.Branch)
		if err != nil {
			return nil, fmt.Errorf("channel %s: asking %s for its branch %s: %w", ch.Name, ch.URL, ch.Branch, err)
		}
		to, _, _ := strings.Cut(out, "\t")
		if !fullID.MatchString(to) {
			return nil, fmt.Errorf("channel %s: %s answers %.60q, which is no commit", ch.Name, ch.URL, to)
		}
		if to != ch.Commit {
			all = append(all, moved{Channel: ch, to: to})
		}
	}
	return all, nil
}

// tree is that of base with another text of the file; the clone's files and its index stay as they are.
func (u *updater) tree(ctx context.Context, base, text string) (string, error) {
	dir, err := os.MkdirTemp("", "collie-update-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	index := "GIT_INDEX_FILE=" + filepath.Join(dir, "index")
	blob, err := u.git(ctx, text, "hash-object", "-w", "--stdin")
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"read-tree", base}, {"update-index", "--cacheinfo", "100644," + blob + "," + u.file}} {
		if _, err := u.gitWith(ctx, []string{index}, "", args...); err != nil {
			return "", err
		}
	}
	return u.gitWith(ctx, []string{index}, "", "write-tree")
}

// propose pushes a commit as the branch of the plan, in place of what it had.
func (u *updater) propose(ctx context.Context, base, tree, message string) (string, error) {
	commit, err := u.git(ctx, message, "commit-tree", "-p", base, "-F", "-", tree)
	if err != nil {
		return "", err
	}
	_, err = u.git(ctx, "", "push", "--quiet", "--force", u.remote, commit+":refs/heads/plan/"+updateName)
	return commit, err
}

const gitLimit = 5 * time.Minute // for one git

func (u *updater) git(ctx context.Context, in string, args ...string) (string, error) {
	return u.gitWith(ctx, nil, in, args...)
}

func (u *updater) gitWith(ctx context.Context, env []string, in string, args ...string) (string, error) {
	return runGit(ctx, u.dir, env, in, args...)
}

// runGit returns what git prints, without the last line's end.
func runGit(ctx context.Context, dir string, env []string, in string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitLimit, fmt.Errorf("no answer within %v", gitLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(append(os.Environ(), "GIT_TERMINAL_PROMPT=0"), env...)
	cmd.Stdin = strings.NewReader(in)
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("git %s: %w", args[0], context.Cause(ctx))
	case err != nil && strings.TrimSpace(says.String()) != "":
		return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(says.String()))
	case err != nil:
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// newsOf is what a channel tells of what came, from a clone of it on this machine: Guix's own, or the channel itself. Without
// one there is none to be told.
func newsOf(ctx context.Context, m moved) []string {
	dirs, _ := filepath.Glob(filepath.Join(cacheFolder(), "guix/checkouts/*"))
	if path := strings.TrimPrefix(m.URL, "file://"); filepath.IsAbs(path) {
		dirs = append(dirs, path)
	}
	for _, dir := range dirs {
		ask := func(args ...string) (string, error) {
			return runGit(ctx, dir, nil, "", append([]string{"-c", "safe.directory=*"}, args...)...)
		}
		if _, err := ask("cat-file", "-e", m.to+"^{commit}"); err != nil {
			continue
		}
		var says []string
		if count, err := ask("rev-list", "--count", m.Commit+".."+m.to); err == nil {
			says = append(says, count+" commits")
		}
		description, err := ask("show", m.to+":.guix-channel")
		if err != nil {
			return says
		}
		file := guix.NewsFile(description)
		if file == "" {
			return says
		}
		text, err := ask("show", m.to+":"+file)
		if err != nil {
			return says
		}
		news, err := guix.ReadNews(text)
		if err != nil {
			return append(says, "its news can't be read")
		}
		shown := 0
		for _, n := range news {
			if _, err := ask("merge-base", "--is-ancestor", n.Commit, m.Commit); err == nil || shown == mostNews {
				continue // it was there before
			}
			if _, err := ask("merge-base", "--is-ancestor", n.Commit, m.to); err != nil {
				continue
			}
			shown++
			says = append(says, "* "+n.Title)
		}
		return says
	}
	return nil
}

func cacheFolder() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "/root/.cache"
	}
	return dir
}

func subjectOf(all []moved) string {
	var names []string
	for _, m := range all {
		names = append(names, m.Name+" to "+api.Short(m.to))
	}
	subject := "Update " + strings.Join(names, ", ")
	if len(subject) > 70 {
		subject = fmt.Sprintf("Update %d channels", len(all))
	}
	return subject
}

// messageOf says in a commit's message what the update changes.
func messageOf(subject string, all []moved, plan api.Plan) string {
	var b strings.Builder
	fmt.Fprintln(&b, subject)
	for _, m := range all {
		fmt.Fprintf(&b, "\nchannel %s: %s → %s\n", m.Name, api.Short(m.Commit), api.Short(m.to))
		for _, line := range m.news {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	for _, layer := range plan.Layers {
		var rows []string
		others := 0
		for _, change := range layer.Changes {
			kind, _, _ := strings.Cut(change.Subject, " ")
			switch {
			case kind == "channel":
			case slices.Contains([]string{"package", "closure", "kernel"}, kind) && len(rows) < mostRows:
				change.Diff = ""
				rows = append(rows, change.String())
			default:
				others++
			}
		}
		if layer.Work != (api.Work{}) {
			rows = append(rows, layer.Work.String())
		}
		if others > 0 {
			rows = append(rows, fmt.Sprintf("and %d more: see `collie plan %s`", others, updateName))
		}
		if len(rows) == 0 {
			rows = []string{"nothing changes"}
		}
		fmt.Fprintf(&b, "\n%s:\n", layer.Name)
		for _, row := range rows {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(row, "\n", " "))
		}
	}
	return b.String()
}
