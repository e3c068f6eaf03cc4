package manifests

import (
	"slices"
	"time"
)

// A hook is a Job that runs in each rollout which changes pods, rather than once: by the annotation collie.io/hook.
//
//	before   once all next pods are made, and before any pod stops: if it fails, none does
//	after    once all pods are ready: if it fails, the revision is returned
//	failure  once a rollout was returned, that of the revision which failed: what becomes of it changes nothing
//
// A rollout that changes hooks alone runs them too; on the way back, and when pods are healed, none runs. Within one rollout a
// hook that ended isn't run again, whatever happens to the agent; one that was cut off by the machine's end is. A Job that is
// to run once for its content, as most migrations are, is no hook: what needs it depends on it.
//
// Someone waits for a hook: so unless it says otherwise it is tried once, and ended after ten minutes.
const (
	HookBefore  = "before"
	HookAfter   = "after"
	HookFailure = "failure"

	hookTime = 10 * time.Minute
)

var hookOption = option{
	key: "hook", kinds: []string{"Job"}, is: "before, after or failure",
	set: func(o *Options, value string) bool {
		o.Hook = value
		return slices.Contains([]string{HookBefore, HookAfter, HookFailure}, value)
	},
}
