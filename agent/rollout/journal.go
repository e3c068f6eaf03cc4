package rollout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/statefile"
)

// An event is one line of the journal, written before what it says happens.
type event string

const (
	evPreparing event = "preparing"
	evPrepared  event = "prepared"
	evFailed    event = "failed"
	evLater     event = "later"
	evSwitching event = "switching" // a rollout begins
	evLayer     event = "layer"     // one layer of it
	evSoaking   event = "soaking"
	evGood      event = "good"
	evStuck     event = "stuck"
	evSuspended event = "suspended"
	evResumed   event = "resumed"
	evRetry     event = "retry"
	evAccepted  event = "accepted"  // a commit that doesn't descend from the one before, by hand
	evMayBuild  event = "may build" // all of a revision, here
	evAtOnce    event = "at once"   // a revision, though no window is open, as somebody asked
	evEvaluate  event = "evaluate"  // a revision, though it is known what comes of it
	evRestart   event = "restart"   // of a service, as somebody asked
	evBaseline  event = "baseline"
	evDrift     event = "drift"   // someone else switched a layer
	evHealing   event = "healing" // it is switched back
	evHealed    event = "healed"
	evReplaced  event = "replaced"   // Collie ends so that its own new definition starts
	evReboot    event = "reboot"     // of the machine
	evLeft      event = "left"       // Collie goes from this machine
	evCollect   event = "collecting" // what nothing needs, from the store, for want of space

	evRollingBack event = "rolling back"
	evRolledBack  event = "rolled back"

	evReleasing  event = "releasing"  // a layer is to stop what another may take the place of
	evWithout    event = "without"    // a revision is deployed without a layer
	evOnly       event = "only"       // a revision, to some layers first, as somebody asked
	evIncomplete event = "incomplete" // rolled back, and not all of good is well
)

// formerly are events in the words of former versions.
var formerly = map[event]event{"bad": evFailed, "returning": evRollingBack, "returned": evRolledBack}

// UnmarshalText also reads the words of former versions.
func (e *event) UnmarshalText(text []byte) error {
	*e = event(text)
	if now, is := formerly[*e]; is {
		*e = now
	}
	return nil
}

// An entry says what is about to happen, and why.
type entry struct {
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
	Moved   []string            `json:"moved,omitempty"`   // files of users' own, of a rollout that ends: where each is
	Without map[string]string   `json:"without,omitempty"` // layers that a revision is good without, with the reasons
	Items   map[string]string   `json:"items,omitempty"`   // by layer: of system and homes, in the store, where it ended
}

const (
	journalName  = "journal" // in the state folder
	journalLimit = 4 << 20   // bytes: then all but the newest half of it goes
	mostEntry    = 256 << 10 // bytes of a line: readers have the last MiB
)

// A journal is a file of JSON lines, each fsynced. It is never longer than journalLimit and one line.
type journal struct {
	name string
	file journalFile // nil: it couldn't be opened yet
	torn bool        // its last line has no end
}

// A journalFile is an *os.File.
type journalFile interface {
	io.WriteCloser
	Sync() error
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// openJournal opens or makes the journal. With an error it is opened later, before the next entry.
func openJournal(name string) (*journal, error) {
	j := &journal{name: name}
	if err := j.open(); err != nil {
		return j, fmt.Errorf("journal: %w", err)
	}
	_ = j.shorten() // without space for that, it is tried again while the agent runs
	return j, nil
}

func (j *journal) open() error {
	if info, err := os.Lstat(j.name); err == nil && !info.Mode().IsRegular() {
		if _, err := statefile.SetAside(j.name); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	j.file, j.torn = f, false
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		_, err = f.ReadAt(last, info.Size()-1)
		j.torn = last[0] != '\n' // a crash left half a line
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// shorten drops the older part of a journal that has grown too long. If that fails, the journal is kept and still written.
func (j *journal) shorten() error {
	if j.file == nil {
		return nil
	}
	info, err := j.file.Stat()
	if err != nil || info.Size() < journalLimit {
		return err
	}
	text, err := tail(j.name, journalLimit/2)
	if err == nil {
		err = statefile.Write(j.name, text)
	}
	if err != nil {
		return fmt.Errorf("shortening the journal: %w", err)
	}
	old := j.file
	return errors.Join(j.open(), old.Close())
}

// tail is the end of a file, in whole lines.
func tail(name string, most int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	from := max(info.Size()-most, 0)
	text := make([]byte, info.Size()-from)
	n, err := f.ReadAt(text, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	text = text[:n]
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text, nil
}

// write adds an entry, or nothing at all.
func (j *journal) write(e entry) error {
	text, err := json.Marshal(e)
	if err == nil && len(text) > mostEntry {
		text, err = json.Marshal(entry{At: e.At, Event: e.Event, Revision: e.Revision, Layer: e.Layer, Author: foreign.Bound(e.Author, mostText), Subject: foreign.Bound(e.Subject, mostText),
			Because: strings.TrimSpace(foreign.Bound(e.Because, mostError) + fmt.Sprintf(" (this entry had %d bytes: only its beginning is kept)", len(text)))})
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.there(); err != nil {
		return &UnwrittenError{fmt.Errorf("journal: %w", err)}
	}
	before := j.size()
	if j.torn {
		text = append([]byte("\n"), text...)
	}
	_, err = j.file.Write(append(text, '\n'))
	if err := errors.Join(err, j.file.Sync()); err != nil {
		j.cut(before)
		return &UnwrittenError{fmt.Errorf("journal: %w", err)}
	}
	j.torn = false
	return nil
}

// there sees to it that the open file is the one of that name: somebody may have removed it.
func (j *journal) there() error {
	if j.file == nil {
		return j.open()
	}
	is, err := os.Stat(j.name)
	if err == nil {
		if info, err := j.file.Stat(); err == nil && os.SameFile(is, info) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := j.file
	if err := j.open(); err != nil {
		return err
	}
	return old.Close()
}

// size is where the next entry begins.
func (j *journal) size() int64 {
	if j.file == nil && j.open() != nil {
		return -1 // which cut leaves alone
	}
	info, err := j.file.Stat()
	if err != nil {
		return -1
	}
	return info.Size()
}

// cut takes back what was written since the journal had a size.
func (j *journal) cut(size int64) {
	if now := j.size(); size < 0 || now <= size {
		return
	}
	if err := j.file.Truncate(size); err != nil {
		j.torn = true // readers pass over the line
	}
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// historyLimit is how much of the journal's end `collie history' reads: some thousand entries.
const historyLimit = 1 << 20

// readJournal returns the entries in the last bytes of the file, oldest first; a torn line is passed over.
func readJournal(name string, most int64) ([]entry, error) {
	text, err := tail(name, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var entries []entry
	for line := range bytes.Lines(text) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
