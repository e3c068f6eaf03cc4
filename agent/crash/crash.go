// Package crash holds named points at which a test can kill the agent, to see that it comes back.
//
// It is asleep unless COLLIE_CRASH names a file. The point whose name that file holds removes it and ends the
// process as `kill -9` would: once, so that the agent's next life passes. A file that is still there afterwards tells
// that its point was never reached.
package crash

import (
	"os"
	"strings"
	"syscall"
)

var file = os.Getenv("COLLIE_CRASH")

// At ends the process by SIGKILL if the point name is armed, and does nothing otherwise.
func At(name string) {
	if file == "" {
		return
	}
	armed, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(armed)) != name {
		return
	}
	if os.Remove(file) != nil {
		return // it would strike again in each life to come
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // until the signal is delivered
}
