package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"example.org/collie/agent/api"
)

// An event is one line of the journal, written before what it says happens.
type event string

const (
	evPreparing event = "preparing"
	evPrepared  event = "prepared"
	evBad       event = "bad"
	evLater     event = "later"
	evSwitching event = "switching" // a rollout begins
	evLayer     event = "layer"     // one layer of it
	evSoaking   event = "soaking"
	evGood      event = "good"
	evReturning event = "returning"
	evReturned  event = "returned"
	evStuck     event = "stuck"
	evSuspended event = "suspended"
	evResumed   event = "resumed"
	evRetry     event = "retry"
	evAccepted  event = "accepted"  // a commit that doesn't descend from the one before, by hand
	evMayBuild  event = "may build" // all of a revision, here
	evAtOnce    event = "at once"   // a revision, though no window is open, as somebody asked
	evRestart   event = "restart"   // of a service, as somebody asked
	evBaseline  event = "baseline"
	evDrift     event = "drift"   // someone else switched a layer
	evHealing   event = "healing" // it is switched back
	evHealed    event = "healed"
	evReplaced  event = "replaced"   // Collie ends so that its own new definition starts
	evReboot    event = "reboot"     // of the machine
	evLeft      event = "left"       // Collie goes from this machine
	evCollect   event = "collecting" // what nothing needs, from the store, for want of space
)

// An Entry says what is about to happen, and why.
type Entry struct {
	At       time.Time `json:"at"`
	Event    event     `json:"event"`
	Revision string    `json:"revision,omitempty"`
	Author   string    `json:"author,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Layer    string    `json:"layer,omitempty"`
	Because  string    `json:"because,omitempty"`
	Before   []Problem `json:"before,omitempty"`

	Changes map[string][]Change `json:"changes,omitempty"` // by layer, of a rollout that ends
	Images  map[string]string   `json:"images,omitempty"`  // digests, by the names that the revision's pods have for them
	Items   map[string]string   `json:"items,omitempty"`   // by layer: of system and homes, in the store, where it ended
}

const (
	journalLimit = 4 << 20 // bytes: then the older half goes
	journalLine  = 1 << 20 // bytes; a longer line is passed over
)

// A journal is a file of JSON lines, each fsynced.
type journal struct{ file *os.File }

// openJournal opens or makes the journal, and ends a line that a crash left half written.
func openJournal(name string) (*journal, error) {
	if err := shortenJournal(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			_, err = f.WriteString("\n")
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	return &journal{f}, nil
}

// shortenJournal drops the older half of a journal that has grown too long.
func shortenJournal(name string) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < journalLimit {
		return nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	text = text[len(text)/2:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	if err := replaceFile(name, text); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *journal) write(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	_, err = j.file.Write(append(b, '\n'))
	if err := errors.Join(err, j.file.Sync()); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

// readJournal returns the entries of the file, oldest first; a torn line is passed over.
func readJournal(name string) ([]Entry, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	var entries []Entry
	lines := bufio.NewReaderSize(f, journalLine)
	for tooLong := false; ; {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			tooLong = true
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return entries, fmt.Errorf("journal: %w", err)
		}
		var e Entry
		if !tooLong && json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
		tooLong = false
		if err != nil {
			return entries, nil
		}
	}
}

// history tells the deployments in entries, newest first. numbers are the generations there are now, by layer and item:
// a number that was kept might name another item today, as Guix gives them again after going back.
func history(entries []Entry, numbers map[string]map[string]int, now time.Time) []api.Deployment {
	var all []*api.Deployment
	open := map[string]*api.Deployment{} // by revision
	commits := map[string]Entry{}        // what is known of them, by revision
	begin := func(e Entry) *api.Deployment {
		d := open[e.Revision]
		if d == nil {
			commit := commits[e.Revision]
			d = &api.Deployment{Revision: e.Revision, Author: commit.Author, Subject: commit.Subject, Started: e.At, Layers: []string{}, Outcome: "underway"}
			open[e.Revision] = d
			all = append(all, d)
		}
		return d
	}
	end := func(e Entry, outcome string) {
		d := begin(e)
		d.Outcome, d.Duration = outcome, e.At.Sub(d.Started)
		if e.Because != "" {
			d.Reason = e.Because
		}
		d.Generations = map[string]int{}
		for layer, item := range e.Items {
			if number := numbers[layer][item]; number > 0 {
				d.Generations[layer] = number
			}
		}
		delete(open, e.Revision)
	}
	overtake := func(e Entry, older func(revision string, d *api.Deployment) bool) {
		for revision, d := range open {
			if revision != e.Revision && older(revision, d) {
				d.Outcome, d.Duration = "superseded", e.At.Sub(d.Started)
				delete(open, revision)
			}
		}
	}
	beside := func(e Entry) string { return "beside " + e.Layer } // no revision
	aside := func(e Entry) {                                      // what others did, and its healing, are entries of their own
		d := &api.Deployment{Revision: e.Revision, Started: e.At, Layers: []string{e.Layer}, Outcome: string(e.Event), Reason: e.Because}
		if e.Event == evHealing {
			if open[beside(e)] != nil {
				return // tried once more
			}
			open[beside(e)] = d
		}
		all = append(all, d)
	}
	made := map[string]bool{} // revisions that were prepared
	deploying := ""           // the revision whose rollout is underway
	for _, e := range entries {
		switch e.Event {
		case evPreparing:
			commits[e.Revision] = e
			overtake(e, func(revision string, _ *api.Deployment) bool { return revision != deploying && !made[revision] })
			begin(e)
		case evPrepared:
			made[e.Revision] = true
			begin(e).Images = e.Images
		case evSwitching:
			d := begin(e)
			d.Because = e.Because
			overtake(e, func(_ string, older *api.Deployment) bool { return !older.Started.After(d.Started) })
			deploying = e.Revision
		case evLayer:
			if d := open[deploying]; d != nil && !slices.Contains(d.Layers, e.Layer) {
				d.Layers = append(d.Layers, e.Layer)
			}
		case evBad:
			d := begin(e)
			d.Reason, d.Changes = e.Because, e.Changes
			if deploying != e.Revision { // it failed in prepare: nothing to take back
				end(e, "bad")
			}
		case evReturning:
			if d := open[e.Revision]; d != nil && d.Reason == "" {
				d.Reason = e.Because
			}
		case evLater:
			begin(e).Reason = e.Because
		case evAccepted:
			commits[e.Revision] = e
			end(e, "accepted")
		case evGood:
			d := begin(e)
			d.Reason, d.Changes = "", e.Changes // of this try
			end(e, "good")
			deploying = ""
		case evReturned:
			end(Entry{At: e.At, Revision: e.Revision, Items: e.Items}, "returned")
			deploying = ""
		case evStuck:
			end(e, "stuck")
			deploying = ""
		case evDrift, evHealing:
			aside(e)
		case evReboot:
			e.Layer = "system"
			aside(e)
		case evHealed:
			if d := open[beside(e)]; d != nil {
				d.Outcome, d.Duration = "healed", e.At.Sub(d.Started)
				delete(open, beside(e))
			}
		}
	}
	deployments := make([]api.Deployment, 0, len(all))
	for _, d := range slices.Backward(all) {
		if d.Outcome == "underway" {
			d.Duration = now.Sub(d.Started)
		}
		deployments = append(deployments, *d)
	}
	return deployments
}
