package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"example.org/collie/agent/rollout"
)

// Some files of the state must not be forgotten. While one of them is there and can't be read, nothing is deployed and nothing
// is healed: the agent doesn't know what. It runs, so that status can say so, and writes nothing over that file.
//
//	what can't be read                       what would be forgotten
//	state.json, a target of current or good  what is suspended, which revisions are bad, what was good
//	jobs.json                                which Jobs ran
//	inventory.json                           which pods and claims a commit may not remove
//
// A person puts back a copy of the file, or moves it away. Either ends the agent, and its next life goes on from there.

// An unread is one of these files.
type unread struct {
	holds string
	read  func() error
	err   error // of read
}

// errReadable ends the agent so that its next life reads the state.
var errReadable = errors.New("the state can be read again, or was moved away: the agent is restarted, and continues from it")

// rereads is the time between two tries to read what couldn't be read.
const rereads = time.Second

// mustRead reads one of the files that must not be forgotten.
func (a *Agent) mustRead(holds string, read func() error) {
	err := read()
	if err == nil {
		return
	}
	a.log.Error("the state can't be read: nothing is deployed and nothing is healed until it can", "dir", a.cfg.State, "err", err)
	a.unread = append(a.unread, unread{holds, read, err})
}

// closed is why requests aren't served that need the state; nil: it could be read.
func (a *Agent) closed() error {
	if len(a.unread) == 0 {
		return nil
	}
	return errors.New(a.unread[0].says())
}

func (u unread) says() string {
	return fmt.Sprintf("nothing is deployed and nothing is healed, as the state can't be read: %v; put back a copy of that file, or move it away: "+
		"then %s is forgotten, and the machine is taken as it is", u.err, u.holds)
}

// unreadSays are the problems of files that can't be read.
func (a *Agent) unreadSays() []rollout.Problem {
	var all []rollout.Problem
	for _, u := range a.unread {
		all = append(all, rollout.Problem{Subject: "state", Says: u.says()})
	}
	return all
}

// awaitState waits until all of the state can be read, or ctx ends.
func (a *Agent) awaitState(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rereads):
		}
		still := 0
		for _, u := range a.unread {
			if u.read() != nil {
				still++
			}
		}
		if still == 0 {
			return errReadable
		}
	}
}

// unreadHost is a name for the machine while the one in the state isn't known.
func (a *Agent) unreadHost() string {
	if a.cfg.Host != "" {
		return a.cfg.Host
	}
	name, _ := os.Hostname()
	return strings.TrimSpace(name)
}
