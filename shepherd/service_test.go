package shepherd

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A field that Shepherd writes otherwise than so far is as if it weren't there: the service's other fields, and the other
// services, are known.
func TestServiceFieldByField(t *testing.T) {
	many := strings.Repeat("name ", 100_000)
	deep := strings.Repeat("(", 5000) + strings.Repeat(")", 5000)
	for field, want := range map[string]string{
		`(recent-messages ((17 . "a") "b" (17 "c") (17 . d) (x . "e") . "f"))`: "running 42 []",
		`(recent-messages ((17 . "a") "b" (17 "c") (17 . d) (x . "e")))`:       "running 42 [e a]",
		`(recent-messages #<unspecified>)`:                                     "running 42 []",
		`(recent-messages . "a")`:                                              "running 42 [last]",
		`(recent-messages ` + deep + `)`:                                       "running 42 []",
		`(running (process (version 1) (pid . 42)))`:                           "running 0 [last]",
		`(running "#<procedure x>")`:                                           "running 0 [last]",
		`(running #<<process> id: 42 command: ("a>" #\))>)`:                    "running 0 [last]",
		`(running ` + deep + `)`:                                               "running 0 [last]",
		`(status failing)`:                                                     "unknown 42 [last]",
		`(status (running))`:                                                   "unknown 42 [last]",
		`(status)`:                                                             "running 42 [last]",
		`(status-changes ((odd . soon) 17 #(running 17)))`:                     "running 42 [last]",
		`(exit-statuses ((1/2 . 17) (a . b)))`:                                 "running 42 [last]",
		`(last-respawns (1.5 "a" #t))`:                                         "running 42 [last]",
		`(requires (` + many + `))`:                                            "running 42 [last]",
		`(requires #t)`:                                                        "running 42 [last]",
		`(new-in-2.0 #2((1 2)) #*10 ' , #\a . . ;)`:                            "running 42 [last]",
		`()`: "running 42 [last]",
		`.`:  "running 42 [last]",
	} {
		text := `((service (version 0) (provides (before)) (status stopped)) (service (version 0) (provides (odd))
			(running (process (version 0) (id 42))) (status running) (recent-messages ((17 . "last"))) ` + field + `) (service (version 0) (provides (beside)) (status running)))`
		all, err := services(mustRead(t, text))
		if err != nil || len(all) != 3 || all[0].Name != "before" || all[2].Name != "beside" || all[2].Status != "running" {
			t.Errorf("%.60s: %v, %v", field, all, err)
			continue
		}
		if got := fmt.Sprint(all[1].Status, " ", all[1].PID, " ", all[1].Messages); got != want {
			t.Errorf("%.60s: %s; want %s", field, got, want)
		}
	}
}

func TestOneServiceHidesNoOther(t *testing.T) {
	beside := "(service (version 0) (provides (beside)) (status running))"
	for _, odd := range []string{"(service)", "(service (version 0) (provides ()))", "(service (version 0) (provides (#(1) web)))", "odd", "7", `"service"`, "(service . odd)", "()"} {
		all, err := services(mustRead(t, "("+odd+" "+beside+")"))
		if err != nil || len(all) != 1 || all[0].Name != "beside" {
			t.Errorf("%s: %v, %v", odd, all, err)
		}
		if all, err := services(mustRead(t, "("+odd+")")); err == nil {
			t.Errorf("%s alone is %v", odd, all)
		}
	}
}

// What is said of a service that doesn't run is what is known: of an exit only if it was the end of this life.
func TestTrouble(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	changes := func(words ...string) (all []StatusChange) { // newest first
		for i, word := range words {
			all = append(all, StatusChange{word, at(int64(100 - i))})
		}
		return all
	}
	exit := func(seconds int64, status syscall.WaitStatus) []Exit { return []Exit{{status, at(seconds)}} }
	for _, row := range []struct {
		want string
		of   Service
	}{
		{"", Service{Status: "running", Enabled: true, Changes: changes("running", "starting", "stopped"), Exits: exit(98, 1<<8)}},
		{"exited with 1", Service{Status: "stopped", Enabled: true, Changes: changes("stopped", "running", "starting"), Exits: exit(100, 1<<8)}},
		{"killed by signal 9", Service{Status: "stopped", Enabled: true, Changes: changes("stopped", "running", "starting"), Exits: exit(100, 9)}},
		{"", Service{Status: "stopped", Enabled: true, Changes: changes("stopped", "stopping", "running", "starting"), Exits: exit(100, 15)}},
		{"did not start, exited with 2", Service{Status: "stopped", Enabled: true, StartupFailures: []time.Time{at(100)}, Changes: changes("stopped", "starting"), Exits: exit(99, 2<<8)}},
		{"did not start", Service{Status: "stopped", Enabled: true, StartupFailures: []time.Time{at(100)}, Changes: changes("stopped", "starting"), Exits: exit(98, 2<<8)}},
		{"did not start", Service{Status: "stopped", Enabled: true, StartupFailures: []time.Time{at(100)}, Changes: changes("stopped", "starting")}},
		{"disabled, died 3 times, exited with 1", Service{Status: "stopped", Respawns: []time.Time{at(99), at(98)}, Changes: changes("stopped", "running", "starting"), Exits: exit(100, 1<<8)}},
	} {
		if got := row.of.Trouble(); got != row.want {
			t.Errorf("%+v: %q; want %q", row.of, got, row.want)
		}
	}
}
