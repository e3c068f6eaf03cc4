// Package crash holds named points at which a test can kill the agent, to see that it comes back.
//
// It is asleep unless COLLIE_CRASH names a file, which has the names of points, a line each. The first of them, once it is
// reached, takes its line out and ends the process as `kill -9` would: the agent's next life passes it, and is killed at the
// second. The last one removes the file. One that is still there afterwards tells which point was never reached.
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
	if err != nil {
		return
	}
	first, rest, _ := strings.Cut(strings.TrimSpace(string(armed)), "\n")
	if first != name || disarm(rest) != nil {
		return // it would strike again in each life to come
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // until the signal is delivered
}

// disarm leaves only what is to come.
func disarm(rest string) error {
	if rest == "" {
		return os.Remove(file)
	}
	if err := os.WriteFile(file+".next", []byte(rest+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".next", file)
}
