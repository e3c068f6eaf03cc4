package agent

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// A push to the repository on this machine shows its plan: the repository's hook asks for it, as the user who pushed. That
// user's socket shows the result of a push, and can't do anything.

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

// pushed is what there is to say of a ref that was pushed.
func (a *Agent) pushed(ctx context.Context, ref, commit string) (api.Pushed, error) {
	return a.conductor.Pushed(ctx, ref, commit, a.cfg.Source.Branch, func(ctx context.Context) error {
		_, err := a.sync(ctx)
		return err
	})
}
