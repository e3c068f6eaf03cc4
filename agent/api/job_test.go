package api

import "testing"

// What a Job that failed said last is shown below its line.
func TestAJobShowsWhatItSaidLast(t *testing.T) {
	for _, row := range []struct {
		job  Job
		want string
	}{
		{Job{State: "waiting", Says: "after web"}, "waiting: after web"},
		{Job{State: "waiting", Says: "after web", Tries: 2, Log: []string{"no such table", "bye"}}, "waiting: after web, 2 tries\n| no such table\n| bye"},
	} {
		if got := row.job.Text(); got != row.want {
			t.Errorf("got  %q\nwant %q", got, row.want)
		}
	}
}
