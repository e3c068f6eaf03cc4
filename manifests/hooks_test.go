package manifests

import (
	"slices"
	"strings"
	"testing"

	"example.org/collie/agent/mistake"
)

func TestReadingHooks(t *testing.T) {
	const text = `apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {collie.io/hook: WHEN}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: "i:1"}]}}
`
	m, err := Load(files("x.yaml", strings.Replace(text, "WHEN", "before", 1)), ".")
	if err != nil {
		t.Fatal(err)
	}
	if p := m.Pods[0]; p.Options.Hook != "before" || p.Job.Retries != 0 || p.Job.Deadline != 600 {
		t.Errorf("got %+v, %+v", p.Options, p.Job)
	}
	m, err = Load(files("x.yaml", strings.Replace(text, "WHEN", "after", 1)+"  backoffLimit: 3\n  activeDeadlineSeconds: 5\n"), ".")
	if err != nil {
		t.Fatal(err)
	}
	if p := m.Pods[0]; p.Job.Retries != 3 || p.Job.Deadline != 5 {
		t.Errorf("got %+v", p.Job)
	}
	if _, err := Load(files("x.yaml", strings.Replace(text, "WHEN", "pre-sync", 1)), "."); err == nil || !slices.ContainsFunc(err.(mistake.List), func(e *mistake.Error) bool {
		return e.Hint == "write before, after or failure"
	}) {
		t.Errorf("got %v", err)
	}
}
