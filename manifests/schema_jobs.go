package manifests

import (
	"cmp"

	"example.org/collie/manifests/internal/tree"
)

// Jobs, as far as one machine and one pod at a time go.

var jobKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(54))),
	must("spec", jobSpecForm),
	pass("status", byCluster),
)

var jobSpecForm = objectOf(
	must("template", objectOf(
		may("metadata", withRows(metadata(dnsName), pass("name", "ignored: the pod is called like the Job"))),
		must("spec", withRows(podSpecForm,
			must("restartPolicy", enum("Never", "OnFailure")),
			refuse("activeDeadlineSeconds", "is not supported for a single try", "set activeDeadlineSeconds in the spec of the Job"))),
	)),
	may("backoffLimit", whole(0, 1<<31-1)),
	may("completions", only(1, "a Job runs to its end once")),
	may("parallelism", only(1, "a Job has one pod at a time; to hold it back, write suspend: true")),
	may("activeDeadlineSeconds", whole(1, 1<<31-1)),
	may("ttlSecondsAfterFinished", whole(0, 1<<31-1)),
	may("suspend", boolean),
	passChecked("completionMode", enum("NonIndexed"), "ignored: a Job runs to its end once"),
	passChecked("podReplacementPolicy", enum("TerminatingOrFailed", "Failed"), "ignored: the next try begins when the last has ended"),
	pass("selector", byCluster),
	pass("manualSelector", byCluster),
	refuse("podFailurePolicy", "is not supported: each failed try counts", "leave it out, and set backoffLimit"),
	refuse("successPolicy", "is not supported", "leave it out"),
	refuse("backoffLimitPerIndex", "is not supported", "set backoffLimit"),
	refuse("maxFailedIndexes", "is not supported", "set backoffLimit"),
	refuse("managedBy", "is not supported: there is no other controller here", "leave it out"),
)

// A Job runs to its end, once for what the hash of its pod covers.
//
//	what happens                                 what becomes of the Job
//	its template, a ConfigMap of it changes      it is another one, and runs; what still runs of the former one is stopped
//	its other fields change                      they count from now on, and nothing runs again
//	a try fails                                  a new pod after 10 s, 20 s, 40 s … 6 min, until backoffLimit
//	the machine stops under it, its pod is gone  it was cut off: a new pod at once, which doesn't count as a try
//	its pod is removed once it has ended         nothing
//	its revision fails and is tried again        if it completed, nothing; else it runs
//	a commit without it, then one with it again  it runs, unless the first of the two failed
//
// Podman knows no Job: to it, each try is a pod that doesn't restart.
type Job struct { // none of it is in the hash
	Retries  int  `json:"retries"`            // backoffLimit
	Deadline int  `json:"deadline,omitempty"` // seconds for all tries together; 0: none
	TTL      *int `json:"ttl,omitempty"`      // seconds that its pod is kept after the end; nil: as long as its revision
	Suspend  bool `json:"suspend,omitempty"`
}

const usualRetries = 6 // Kubernetes' backoffLimit

// job reads the fields of a Job that its pod doesn't have.
func (p *podDocument) job() *Job {
	switch p.kind {
	case "Job":
		j := jobOf(tree.Section(p.body, "spec"))
		if p.opts.Hook != "" {
			if _, said := tree.Section(p.body, "spec")["backoffLimit"]; !said {
				j.Retries = 0
			}
			j.Deadline = cmp.Or(j.Deadline, int(hookTime.Seconds()))
		}
		return j
	case "CronJob":
		return jobOf(tree.Section(tree.Section(tree.Section(p.body, "spec"), "jobTemplate"), "spec"))
	}
	return nil
}

func jobOf(spec map[string]any) *Job {
	number := func(key string, otherwise int) int {
		if n, ok := spec[key].(int64); ok {
			return int(n)
		}
		return otherwise
	}
	j := &Job{Retries: number("backoffLimit", usualRetries), Deadline: number("activeDeadlineSeconds", 0)}
	if ttl := number("ttlSecondsAfterFinished", -1); ttl >= 0 {
		j.TTL = &ttl
	}
	j.Suspend, _ = spec["suspend"].(bool)
	return j
}

// Equal reports whether both run in the same way.
func (j *Job) Equal(other *Job) bool {
	a, b := *j, *other
	a.TTL, b.TTL = nil, nil
	return a == b && equalTo(j.TTL, other.TTL)
}
