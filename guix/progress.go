package guix

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Progress is how far a guix is with what it said that it would do.
type Progress struct {
	Item      string // what it is at, in a few words
	Builds    Count  // derivations
	Downloads Count  // items of the store
	Bytes     Count  // of the downloads, as they come; Total is 0 where Guix doesn't know it
}

// A Count is how much of something is done.
type Count struct{ Done, Total int64 }

// Work is what there is to do.
type Work struct {
	Builds    int64 `json:"builds,omitempty"`    // derivations
	Downloads int64 `json:"downloads,omitempty"` // items of the store
	Bytes     int64 `json:"bytes,omitempty"`     // of the downloads, as they come
}

// Work is what there was to do in all.
func (p Progress) Work() Work { return Work{p.Builds.Total, p.Downloads.Total, p.Bytes.Total} }

// A Watch is how a build is followed, and what ends it.
type Watch struct {
	Tell      func(Progress) // nil: nobody wants to know
	MaxBuilds int            // if more would be built here that a substitute may come for, a *WaitError ends it
	Reads     *Reads         // what the evaluation read is written there, if that is known; nil: nobody wants to know
}

// AnyNumber of builds is fine.
const AnyNumber = math.MaxInt

// A WaitError says that a build was ended in favour of substitutes: Guix would have built more here than it may.
type WaitError struct {
	Builds []string // names of what would have been built
	Most   int
}

// Awaited names what would have been built.
func (e *WaitError) Awaited() []string { return e.Builds }

func (e *WaitError) Error() string {
	const told = 5
	names := strings.Join(e.Builds[:min(told, len(e.Builds))], ", ")
	if more := len(e.Builds) - told; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("no substitutes yet for %s, and at most %d may be built here", names, e.Most)
}

// A promise is what guix says that it will do. It says so in lists, before each of its turns at building, of which there
// may be several; `guix time-machine', which is quiet, names no downloads, but counts them. It doesn't always say what is done (a
// download that ends alone is a blank line), so progress comes from the store.
type promise struct {
	builds, downloads []string // .drv files; items
	unnamed           int64    // downloads
	bytes             int64    // to download
	lacks             int64    // bytes that the store needs and hasn't
	item              string

	known    map[string]bool // what is in a list
	received map[string]bool // downloads that are in none, and have ended
	list     *[]string       // to which indented lines belong
}

const (
	longestList = 100_000
	longestLine = 64 << 10 // bytes
)

var (
	willBuild    = regexp.MustCompile(`^The following (?:derivations?|grafts?|profile hooks?) will be (?:built|made):$`)
	willDownload = regexp.MustCompile(`^(?:The following files? will be downloaded:|([0-9,.]+) MB will be downloaded:?)$`)
	willCount    = regexp.MustCompile(`^([0-9,]+) items? will be downloaded$`)
	listed       = regexp.MustCompile(`^ {2,3}(/gnu/store/[a-z0-9]{32}-[0-9A-Za-z+._?=-]+)$`)
	substituted  = regexp.MustCompile(`^substitution of (/gnu/store/[a-z0-9]{32}-[0-9A-Za-z+._?=-]+) complete$`)
	needs        = regexp.MustCompile(`^guix [a-z-]+: warning: at least ([0-9,.]+) MB needed but only ([0-9,.]+) MB available in /`)
	busy         = regexp.MustCompile(`^(building|substituting|downloading|applying|running|listing|generating|creating|Updating|Authenticating|Computing) (?:from \S*/)?(?:/gnu/store/)?(?:[a-z0-9]{32}-)?(.*?)(?:\.drv)?(?: ?\.\.\.)?$`)
)

// read takes a line of what guix says.
func (p *promise) read(line string) {
	if m := listed.FindStringSubmatch(line); m != nil {
		if p.list != nil && !p.known[m[1]] && len(p.known) < longestList {
			if p.known == nil {
				p.known = map[string]bool{}
			}
			p.known[m[1]] = true
			*p.list = append(*p.list, m[1])
		}
		return
	}
	p.list = nil
	switch {
	case willBuild.MatchString(line):
		p.list = &p.builds
	case willDownload.MatchString(line):
		p.bytes += megabytes(willDownload.FindStringSubmatch(line)[1])
		p.list = &p.downloads
	case willCount.MatchString(line):
		p.unnamed += int64(number(willCount.FindStringSubmatch(line)[1]))
	case substituted.MatchString(line):
		item := substituted.FindStringSubmatch(line)[1]
		if !p.known[item] && len(p.received) < longestList {
			if p.received == nil {
				p.received = map[string]bool{}
			}
			p.received[item] = true
		}
	case needs.MatchString(line):
		m := needs.FindStringSubmatch(line)
		p.lacks = max(p.lacks, megabytes(m[1])-megabytes(m[2]))
	default:
		if m := busy.FindStringSubmatch(line); m != nil {
			p.item = shorten(m[1] + " " + m[2])
		}
	}
}

func number(text string) float64 {
	n, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", ""), 64)
	if err != nil || n < 0 || n > 1e15 {
		return 0
	}
	return n
}

func megabytes(text string) int64 { return int64(math.Round(number(text) * 1e6)) }

// A follower reads the output of a guix, and finds out how much of it is done.
type follower struct {
	promise
	dir  string // where a test has its /gnu/store and /var/guix
	rest string // of what guix said: a line without its end

	weighed int               // of the builds: so many were in what follows
	outputs map[string]string // of the builds that aren't done
	heavy   []string          // builds that aren't trivial, by name
	sized   int               // of the downloads: so many were in what follows
	sizes   map[string]int64  // of the downloads that aren't done
	got     int64             // bytes of those that are
}

// read takes what guix said since the last time.
func (f *follower) read(log io.Reader) {
	fresh, _ := io.ReadAll(io.LimitReader(log, readLog))
	text := f.rest + string(fresh)
	end := strings.LastIndexByte(text, '\n') + 1
	f.rest = text[end:][:min(longestLine, len(text)-end)]
	for line := range strings.Lines(clean(text[:end])) {
		f.promise.read(strings.TrimSuffix(line, "\n"))
	}
}

// look finds out how far all is.
func (f *follower) look() Progress {
	f.weigh()
	f.measure()
	maps.DeleteFunc(f.outputs, func(_, output string) bool { return f.whole(output) })
	maps.DeleteFunc(f.sizes, func(item string, size int64) bool {
		whole := f.whole(item)
		if whole {
			f.got += size
		}
		return whole
	})
	count := func(all, left int) Count { return Count{int64(all - left), int64(all)} }
	p := Progress{
		Item:      f.item,
		Builds:    count(len(f.builds), len(f.outputs)),
		Downloads: count(len(f.downloads), len(f.sizes)),
		Bytes:     Count{min(f.got, f.bytes), f.bytes},
	}
	p.Downloads.Done += min(int64(len(f.received)), f.unnamed)
	p.Downloads.Total += f.unnamed
	return p
}

// weigh reads the derivations that were listed since the last time.
func (f *follower) weigh() {
	if f.outputs == nil {
		f.outputs = map[string]string{}
	}
	for _, drv := range f.builds[f.weighed:] {
		d, err := Store(f.dir).readDerivation(drv)
		if err != nil || !d.local { // what can't be read isn't known to be trivial
			f.heavy = append(f.heavy, strings.TrimSuffix(nameOf(drv), ".drv"))
		}
		f.outputs[drv] = ""
		if err == nil {
			f.outputs[drv] = d.outputs[0]
		}
	}
	f.weighed = len(f.builds)
}

// measure finds the sizes of the downloads that were listed since the last time: `guix substitute' has them in its
// cache. Where it hasn't, each is as large as the others.
func (f *follower) measure() {
	if f.sized == len(f.downloads) {
		return
	}
	if f.sizes == nil {
		f.sizes = map[string]int64{}
	}
	servers, _ := filepath.Glob(filepath.Join(f.dir, "/var/guix/substitute/cache/*"))
	for _, item := range f.downloads[f.sized:] {
		f.sizes[item] = f.bytes / int64(len(f.downloads))
		name, _, _ := strings.Cut(filepath.Base(item), "-")
		for _, server := range servers {
			if size := smallest(filepath.Join(server, name)); size > 0 {
				f.sizes[item] = size
			}
		}
	}
	f.sized = len(f.downloads)
}

var fileSize = regexp.MustCompile(`FileSize: ([0-9]{1,15})\b`)

// smallest is the size that guix chooses of those in a narinfo, one for each compression.
func smallest(narinfo string) (least int64) {
	const most = 64 << 10 // bytes; a narinfo has one or two thousand
	f, err := os.Open(narinfo)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return smallestIn(text)
}

func smallestIn(narinfo []byte) (least int64) {
	for _, m := range fileSize.FindAllSubmatch(narinfo, -1) {
		if n, _ := strconv.ParseInt(string(m[1]), 10, 64); least == 0 || n < least {
			least = n
		}
	}
	return least
}

// whole reports whether an item is in the store, and done: its time is set to the second 1 at the very end. A link is made
// at once.
func (f *follower) whole(item string) bool {
	if !Store(f.dir).holds(item) {
		return false
	}
	info, err := os.Lstat(filepath.Join(f.dir, item))
	return err == nil && (info.Mode().Type() == fs.ModeSymlink || info.ModTime().Unix() == 1)
}

// nameOf is the name of an item in the store, without its hash.
func nameOf(item string) string {
	_, name, _ := strings.Cut(filepath.Base(item), "-")
	return name
}
