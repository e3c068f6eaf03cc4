package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// A push to the repository on this machine shows its plan: the repository's hook asks for it, as the user who pushed. That
// user's socket tells what became of a push, and can't do anything.

// pushSocket is its name, in the folder of the control socket.
const pushSocket = "push.sock"

// listenForPushes makes the hook's socket, which is the repository's owner's; none if the repository isn't on this machine.
func (a *Agent) listenForPushes() (net.Listener, error) {
	if _, local := source.LocalPath(a.cfg.Source.URL); !local {
		return nil, nil
	}
	if err := os.MkdirAll(a.runtime, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(a.runtime, pushSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // a former life's
		return nil, err
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil || a.cfg.Source.Owner == "" {
		return l, err
	}
	owner, err := user.Lookup(a.cfg.Source.Owner)
	if err == nil {
		var uid int
		if uid, err = strconv.Atoi(owner.Uid); err == nil {
			err = os.Chown(path, uid, -1)
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// servePushes answers the hook until ctx ends. Without it a push shows nothing, that is all.
func (a *Agent) servePushes(ctx context.Context) {
	l, err := a.listenForPushes()
	if err == nil && l != nil {
		err = api.ServePushes(ctx, l, a.pushed, a.log)
	}
	if err != nil {
		a.log.Warn("pushes show no plan", "err", err)
	}
}

// pushed tells what there is to say of a ref that was pushed.
func (a *Agent) pushed(ctx context.Context, ref, commit string) (api.Pushed, error) {
	branch, _ := strings.CutPrefix(ref, "refs/heads/")
	name, isPlan := source.PlanOf(branch)
	switch {
	case branch == ref:
		return api.Pushed{Done: true}, nil // a tag is nothing to us
	case !isPlan && branch != a.cfg.Source.Branch:
		return api.Pushed{Says: "Branch " + branch + " isn't followed: this machine follows " + a.cfg.Source.Branch +
			". Of a branch plan/NAME it shows what it would change.\n", Done: true}, nil
	}
	known := func(s State) bool {
		return isPlan && s.Plans[name].Revision.ID == commit || !isPlan && s.Newest.ID == commit
	}
	s := a.conductor.look().state
	if !known(s) {
		switch _, err := a.sync(ctx); {
		case errors.Is(err, api.ErrStopping):
			return api.Pushed{}, err
		case err != nil:
			return api.Pushed{Says: "collie: " + err.Error() + "\n", Done: true}, nil
		}
		s = a.conductor.look().state
	}
	switch {
	case isPlan && known(s):
		return a.pushedPlan(ctx, name)
	case isPlan:
		err := source.CheckPlanName(name)
		if err == nil {
			err = fmt.Errorf("%s has nothing that isn't on %s", branch, a.cfg.Source.Branch)
		}
		return api.Pushed{Says: "collie: " + err.Error() + "\n", Done: true}, nil
	case !known(s):
		return api.Pushed{Done: true}, nil // it moved on meanwhile
	}
	says := "Revision " + short(commit) + " is seen: `collie sync --wait` tells what becomes of it.\n"
	if s.Suspended != nil {
		says = "Revision " + short(commit) + " is seen, and waits: suspended" + colon(s.Suspended.Why) + ".\n"
	}
	return api.Pushed{Says: says, Done: true}, nil
}

func (a *Agent) pushedPlan(ctx context.Context, name string) (api.Pushed, error) {
	plan, err := a.plan(ctx, name)
	if err != nil {
		return api.Pushed{}, err
	}
	underway := plan.Preparing != nil && plan.Preparing.Error == ""
	return api.Pushed{Says: plan.Text(), Done: !underway}, nil
}
