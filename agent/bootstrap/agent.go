package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"example.org/collie/agent/api"
)

// agentTime is for an agent to come up after a reconfigure.
const agentTime = 2 * time.Minute

// isFollowed asks the agent whether it follows the repository. Where none answers nothing does.
func (m *Machine) isFollowed(ctx context.Context) (string, bool, error) {
	s, err := m.Agent.Status(ctx)
	switch {
	case api.Away(err):
		return "", false, nil
	case err != nil:
		return "", false, err
	case s.Source.URL != m.Repository.URL:
		return "", false, fmt.Errorf("this machine's Collie follows %s: to have it follow another, change the service in its system.scm", s.Source.URL)
	}
	return "Collie runs, and follows " + s.Source.URL, true, nil
}

func (m *Machine) reconfigure(ctx context.Context) (string, error) {
	system, _ := m.file("system.scm")
	log, err := os.CreateTemp("", "collie-bootstrap-*.log")
	if err != nil {
		return "", err
	}
	defer log.Close()
	m.tell("", "", "what Guix says is in "+log.Name())
	if _, err := m.guix(ctx, log, "system", "reconfigure", system); err != nil {
		return "", fmt.Errorf("%w\n%s", err, lastLines(log.Name(), 20))
	}
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	for {
		says, is, err := m.isFollowed(ctx)
		if err == nil && is {
			return says, nil
		}
		if err != nil && !api.Away(err) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no agent answered within %v of the reconfigure: see `herd status collie`, /var/log/collie.log and %s", agentTime, log.Name())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lastLines are the last of a file, cleaned.
func lastLines(file string, n int) string {
	text, err := readText(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// isGood reports whether the newest commit of the repository is the machine's good one.
func (m *Machine) isGood(ctx context.Context) (string, bool, error) {
	s, err := m.Agent.Status(ctx)
	if api.Away(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	tip, err := m.git(ctx, "rev-list", "--max-count=1", m.tip(), "--")
	if err != nil || tip == "" || s.Revisions.Good != s.Revisions.Newest || s.Phase != "idle" {
		return "", false, nil
	}
	if s.Revisions.Newest != tip { // a push from elsewhere, or one that it hasn't seen yet
		if _, err := m.git(ctx, "merge-base", "--is-ancestor", tip, s.Revisions.Newest); err != nil {
			return "", false, nil
		}
	}
	return "revision " + api.Short(s.Revisions.Good) + " is good", true, nil
}

func (m *Machine) awaitVerdict(ctx context.Context) (string, error) {
	if _, err := m.Agent.SyncPatiently(ctx); err != nil {
		return "", err
	}
	if err := m.Wait(ctx); err != nil {
		return "", err
	}
	return "it is live", nil
}

// podsAt is what runs by hand, as far as it has no file yet, and which files are for a person to read first.
type podsAt struct {
	missing []string // names that have no file
	ready   []string // files that can be pushed
	unread  []string // files that a person has to read
}

// hasPods checks for pods that run and were made by hand.
func (m *Machine) hasPods(ctx context.Context) (string, bool, error) {
	if s, err := m.Agent.Status(ctx); api.Away(err) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	} else if s.Phase != "idle" {
		return "", false, nil
	}
	p, err := m.byHand(ctx)
	switch {
	case err != nil:
		return "", false, err
	case len(p.missing)+len(p.ready) > 0:
		return "", false, nil
	case len(p.unread) > 0:
		return unread(p.unread), true, nil
	}
	return "nothing runs that was made by hand", true, nil
}

func unread(files []string) string {
	return "read these, and then push them yourself, as they have environment variables in plain, or need a hand: " + strings.Join(files, ", ")
}

// podName is what Podman takes for one, and fits into a folder.
var podName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}$`)

func (m *Machine) byHand(ctx context.Context) (p podsAt, err error) {
	podman, err := m.Pods()
	if podman == nil || err != nil {
		return p, err
	}
	pods, containers, err := podman.ByHand(ctx)
	if err != nil {
		return p, err
	}
	for _, name := range append(pods, containers...) {
		if !podName.MatchString(name) {
			continue
		}
		file := m.podFile(name)
		switch text, err := readText(filepath.Join(m.Dir, file)); {
		case errors.Is(err, os.ErrNotExist):
			p.missing = append(p.missing, name)
		case err != nil:
			return p, err
		case needsReading.MatchString(text):
			p.unread = append(p.unread, file)
		default:
			p.ready = append(p.ready, file)
		}
	}
	return p, nil
}

func (m *Machine) podFile(name string) string { return m.place(filepath.Join("pods", name+".yaml")) }

// needsReading is in the YAML of what a person has to check: what may be secret, and a container that no pod holds.
var needsReading = regexp.MustCompile(`(?m)^# Collie adopts pods|^[ -]*env:`)

// writePods writes what Podman says of pods that were made by hand, and pushes those that need no reading.
func (m *Machine) writePods(ctx context.Context) (string, error) {
	podman, err := m.Pods()
	if err != nil {
		return "", err
	}
	p, err := m.byHand(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range p.missing {
		text, err := podman.Import(ctx, name)
		if err != nil {
			return "", err
		}
		if err := writeNew(filepath.Join(m.Dir, m.podFile(name)), text, 0o600); err != nil { // it may have what is secret
			return "", err
		}
	}
	if p, err = m.byHand(ctx); err != nil {
		return "", err
	}
	if len(p.ready) > 0 {
		if err := m.pushPods(ctx, p.ready); err != nil {
			return "", err
		}
	}
	switch {
	case len(p.unread) > 0:
		return unread(p.unread), nil
	case len(p.ready) == 0:
		return "nothing runs that was made by hand", nil
	}
	return strings.Join(p.ready, ", "), nil
}

func (m *Machine) pushPods(ctx context.Context, files []string) error {
	if _, mistakes := m.Check(m.Dir); len(mistakes) > 0 {
		return fmt.Errorf("what Podman says of them isn't what a repository may say:\n%s\nmend it in %s, and run this again", strings.Join(mistakes, "\n"), m.Dir)
	}
	changed, err := m.git(ctx, append([]string{"status", "--porcelain", "--"}, files...)...)
	if err != nil {
		return err
	}
	if changed != "" {
		if _, err := m.commitFiles(ctx, "The pods that run", files); err != nil {
			return err
		}
	}
	if _, err := m.push(ctx); err != nil {
		return err
	}
	_, err = m.awaitVerdict(ctx)
	return err
}
