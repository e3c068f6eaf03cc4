package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
	"example.org/collie/agent/layers"
	"example.org/collie/guix"
)

const (
	updateName = "update" // of the plan
	mostNews   = 20       // entries of a channel that are shown
	mostRows   = 200      // of what a plan changes

	serverPatience = 2 * time.Minute // for what a substitute server has
)

func updateCmd(c *cli) *cobra.Command {
	u := updater{cli: c}
	cmd := &cobra.Command{
		Use:   "update [DIR]",
		Short: "Propose newer commits of the channels, as the branch plan/update",
		Long: "Ask the repositories of the channels for their newest commits, write these to channels.scm, and push that as the branch\n" +
			"plan/update. The agent prepares it. Then the commit's message lists the news of the channels, the changed versions, and the\n" +
			"growth of the system and the homes. Nothing is deployed before you merge that branch. DIR is a clone of the repository that\n" +
			"the agent follows. Its files are not changed.\n\n" +
			"Before the push, `guix weather` of the new channels reports how much of the new system the substitute servers have, and what\n" +
			"remains to be built here. It runs with your rights, and Guix makes the guix of the new channels first, as `guix time-machine` does.",
		Example: "  collie update ~/ops\n  collie update --timeout 3h && git merge --ff-only origin/plan/update",
		Args:    takes(0, 1),
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
	for i, m := range all {
		commits[m.Name] = m.to
		all[i].news = newsOf(ctx, m)
	}
	next, err := guix.PinChannels(text, commits)
	if err != nil {
		return err
	}
	tree, err := u.tree(ctx, base, next)
	if err != nil {
		return err
	}
	substitutes, err := u.weather(ctx, s.Host, tree)
	if err != nil {
		return err
	}
	for _, row := range substitutes {
		fmt.Fprintln(u.err, "substitutes:", row)
	}
	commit, err := u.propose(ctx, base, tree, messageOf(subject, all, substitutes, api.Plan{}))
	if err != nil {
		return err
	}
	plan, err := u.waitForPlan(ctx, updateName, u.timeout, u.err)
	switch {
	case err != nil:
		return fmt.Errorf("plan %s is pushed: %w", updateName, err)
	case plan.Revision != commit:
		return fmt.Errorf("plan %s was pushed by somebody else meanwhile", updateName)
	case plan.Rejected != "":
		return &exitError{exitRejected, fmt.Errorf("plan %s can't be deployed: %s", updateName, plan.Rejected)}
	}
	message := messageOf(subject, all, substitutes, plan)
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

// tree is that of base with another text of the file; the clone's files and its index are not changed.
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

// weather says of how much of the host's new system there are substitutes. It is no mistake that nobody knows.
func (u *updater) weather(ctx context.Context, host, tree string) ([]string, error) {
	if name, is := strings.CutPrefix(filepath.ToSlash(filepath.Clean(u.file)), "hosts/"); is {
		host, _, _ = strings.Cut(name, "/")
	}
	w, err := u.ask(ctx, host, tree)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return []string{"not known: " + foreign.Line(err.Error(), 300)}, nil
	}
	return w, nil
}

func (u *updater) ask(ctx context.Context, host, tree string) ([]string, error) {
	dir, err := os.MkdirTemp("", "collie-update-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files, index := filepath.Join(dir, "files"), "GIT_INDEX_FILE="+filepath.Join(dir, "index")
	for _, args := range [][]string{{"read-tree", tree}, {"checkout-index", "--all", "--prefix=" + files + "/"}} {
		if _, err := u.gitWith(ctx, []string{index}, "", args...); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	seen, err := layers.ForGuix(root.FS(), host, filepath.Join(dir, "trees"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(seen, "system.scm")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there is no system to ask for
	}
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, fmt.Errorf("no answer within %v", u.timeout))
	defer cancel()
	w, err := guix.AskWeather(ctx, seen, serverPatience)
	if err != nil {
		return nil, err
	}
	return w.Lines(), nil
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

// newsOf is what a channel tells of what came: from a clone of it on this machine, Guix's own or the channel itself. Where none
// has the new commit, the two commits are fetched from the channel's repository, without the history between them.
func newsOf(ctx context.Context, m moved) []string {
	dirs, _ := filepath.Glob(filepath.Join(cacheFolder(), "guix/checkouts/*"))
	if path := strings.TrimPrefix(m.URL, "file://"); filepath.IsAbs(path) {
		dirs = append(dirs, path)
	}
	for _, dir := range dirs {
		c := clone{dir: dir, whole: true}
		if c.has(ctx, m.to) && c.has(ctx, m.Commit) {
			return c.news(ctx, m)
		}
	}
	c, err := fetched(ctx, m)
	if err != nil {
		return []string{"its news aren't known: " + foreign.Line(err.Error(), 300)}
	}
	defer os.RemoveAll(c.dir)
	return c.news(ctx, m)
}

// A clone is one of a channel.
type clone struct {
	dir   string
	whole bool // it has all commits, not just two
}

// fetched is a new clone with the two commits alone. Of their files it has none where the server can leave them out: git fetches
// each when it is asked for. Of Guix's 200,000 commits with their files these are the smallest part.
func fetched(ctx context.Context, m moved) (clone, error) {
	dir, err := os.MkdirTemp("", "collie-channel-")
	if err != nil {
		return clone{}, err
	}
	for _, args := range [][]string{{"init", "--quiet", "--bare"}, {"remote", "add", "--", "channel", m.URL},
		{"fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "channel", m.to, m.Commit}} {
		if _, err := runGit(ctx, dir, nil, "", args...); err != nil {
			os.RemoveAll(dir)
			return clone{}, err
		}
	}
	return clone{dir: dir}, nil
}

func (c clone) git(ctx context.Context, args ...string) (string, error) {
	return runGit(ctx, c.dir, nil, "", append([]string{"-c", "safe.directory=*"}, args...)...)
}

func (c clone) has(ctx context.Context, commit string) bool {
	_, err := c.git(ctx, "cat-file", "-e", commit+"^{commit}")
	return err == nil
}

// news are the entries that came with the new commit, but for those that tell of what was there before.
func (c clone) news(ctx context.Context, m moved) (says []string) {
	if c.whole {
		if count, err := c.git(ctx, "rev-list", "--count", m.Commit+".."+m.to); err == nil {
			says = append(says, count+" commits")
		}
	}
	now, err := c.newsAt(ctx, m.to)
	if err != nil {
		return append(says, "its news can't be read")
	}
	before, _ := c.newsAt(ctx, m.Commit) // as far as they can be read
	shown := 0
	for _, n := range now {
		known := n.Commit == m.Commit || slices.ContainsFunc(before, func(old guix.News) bool { return old.Commit == n.Commit })
		if known || shown == mostNews || c.whole && c.leads(ctx, n.Commit, m.Commit) {
			continue
		}
		shown++
		says = append(says, "* "+n.Title)
	}
	return says
}

// leads reports whether a commit is one of those that led to another.
func (c clone) leads(ctx context.Context, commit, to string) bool {
	_, err := c.git(ctx, "merge-base", "--is-ancestor", commit, to)
	return err == nil
}

// newsAt are the news as a commit has them; none if the channel has no file for them.
func (c clone) newsAt(ctx context.Context, commit string) ([]guix.News, error) {
	description, err := c.git(ctx, "show", commit+":.guix-channel")
	if err != nil {
		return nil, nil
	}
	file := guix.NewsFile(description)
	if file == "" {
		return nil, nil
	}
	text, err := c.git(ctx, "show", commit+":"+file)
	if err != nil {
		return nil, nil
	}
	return guix.ReadNews(text)
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

// messageOf says in a commit's message what the update changes, as far as that is known by then.
func messageOf(subject string, all []moved, substitutes []string, plan api.Plan) string {
	var b strings.Builder
	fmt.Fprintln(&b, subject)
	for _, m := range all {
		fmt.Fprintf(&b, "\nchannel %s: %s → %s\n", m.Name, api.Short(m.Commit), api.Short(m.to))
		for _, line := range m.news {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	if len(substitutes) > 0 {
		fmt.Fprintf(&b, "\nsubstitutes:\n")
	}
	for _, row := range substitutes {
		fmt.Fprintf(&b, "  %s\n", row)
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
