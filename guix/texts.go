package guix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// texts are changes of files in the store, with what changed in them. Guix's results are public, and so are these. A file
// outside of the store, or not readable for all, is only named.
type texts struct {
	store   Store
	details []Detail
	lines   int // of diffs, so far
}

// Bounds of what is compared and shown; beyond, files are named.
const (
	textBytes = 256 << 10 // of a file
	textLines = 120       // of a file's diff
	textAll   = 1500      // of all diffs
	textFiles = 400       // that changed
	treeFiles = 5000      // that are read
	treeDepth = 12
)

func (t *texts) add(d Detail) {
	switch n := len(t.details); {
	case n < textFiles:
		t.details = append(t.details, d)
	case n == textFiles:
		t.details = append(t.details, Detail{Change: Change{"update", "more files", fmt.Sprintf("only %d are named", textFiles)}})
	}
}

// compare adds what differs between two files or folders, of which one may be missing, and reports whether anything does.
func (t *texts) compare(subject, before, after string) bool {
	was, is := t.walk(before), t.walk(after)
	both := maps.Clone(was)
	maps.Copy(both, is)
	count := len(t.details)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		t.file(filepath.Join(subject, printable(name)), was[name], is[name])
	}
	return len(t.details) > count
}

var versioned = regexp.MustCompile(`-[0-9]`) // a package, in which nobody wants to look for what changed

// explain is what differs between two programs: their own text, and that of the files that they name.
func (t *texts) explain(was, is []form) (text, says string) {
	before, after := map[string]string{}, map[string]string{}
	text = t.diff(prettyAll(was, before), prettyAll(is, after))
	var anew []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] == "" || before[name] == after[name] {
			continue
		}
		named := texts{store: t.store, lines: t.lines}
		if versioned.MatchString(name) || !named.compare(name, before[name], after[name]) || len(named.details) > 20 {
			anew = append(anew, name)
			continue
		}
		for _, d := range named.details {
			text += strings.TrimRight("in "+d.Subject+": "+d.Says, ": ") + "\n" + d.Diff
		}
		t.lines = named.lines
	}
	if len(anew) > 0 {
		says = "rebuilt: " + strings.Join(anew, ", ")
	}
	return text, says
}

// walk finds the files below path, by their names there ("" for path itself if it is one), and where each is in truth.
func (t *texts) walk(path string) map[string]string {
	files := map[string]string{}
	var visit func(name, path string, depth int)
	visit = func(name, path string, depth int) {
		if len(files) >= treeFiles || depth > treeDepth {
			return
		}
		names, err := t.store.list(path, treeFiles)
		outside := (*OutsideError)(nil)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link to what isn't there
		case errors.As(err, &outside):
			files[name] = outside.To
		case err != nil: // no folder, or none that can be read, which whoever reads it says
			if real, _, unknown := t.store.real(path); unknown == nil {
				path = real
			}
			files[name] = path
		}
		for _, e := range names {
			visit(filepath.Join(name, e), filepath.Join(path, e), depth+1)
		}
	}
	if path != "" {
		visit("", path, 0)
	}
	return files
}

// file adds the change of one file, unless it says what it said.
func (t *texts) file(subject, before, after string) {
	if before == after || (isConf(before) || isConf(after)) { // it only lists services
		return
	}
	d := Detail{Change: Change{Does: "update", Subject: subject}}
	switch {
	case before == "":
		d.Does = "add"
	case after == "":
		d.Does = "remove"
	}
	was, size1, says := t.read(before)
	is, size2, says2 := t.read(after)
	if says == "" {
		says = says2
	}
	switch {
	case says != "":
		if size1 == size2 && t.equal(before, after) {
			return
		}
		if d.Says = says; size1 >= 0 && size2 >= 0 {
			d.Says += "; " + sizes(before, after, size1, size2)
		}
	case bytes.Equal(was, is) && before != "" && after != "":
		return
	default:
		d.Diff = t.diff(was, is)
	}
	t.add(d)
}

func sizes(before, after string, size1, size2 int64) string {
	switch {
	case before == "":
		return fmt.Sprintf("%d bytes", size2)
	case after == "":
		return fmt.Sprintf("%d bytes", size1)
	}
	return fmt.Sprintf("%d bytes, then %d", size1, size2)
}

// read is what is in a file that may be shown; otherwise it says why it can't be. A size of -1 isn't known.
func (t *texts) read(path string) (text []byte, size int64, says string) {
	if path == "" {
		return nil, 0, ""
	}
	text, err := t.store.Read(path, textBytes)
	outside := (*OutsideError)(nil)
	switch {
	case errors.As(err, &outside):
		return nil, -1, "not in the store, so it isn't read"
	case errors.Is(err, errIrregular):
		return nil, -1, "no regular file"
	case errors.Is(err, errPrivate), errors.Is(err, errLarge):
		_, size, _ := t.store.real(path)
		if errors.Is(err, errLarge) {
			return nil, size, "large"
		}
		return nil, size, "not for all to read"
	case err != nil:
		return nil, -1, "it can't be read"
	case bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text):
		return nil, int64(len(text)), "binary"
	}
	return text, int64(len(text)), ""
}

// equal reports whether two files of the store that aren't shown are equal, as far as that is cheap to know.
func (t *texts) equal(before, after string) bool {
	f, _, err := t.store.open(before)
	if err != nil {
		return false
	}
	defer f.Close()
	g, _, err := t.store.open(after)
	if err != nil {
		return false
	}
	defer g.Close()
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for range 1024 { // 64 MiB
		n, err := io.ReadFull(f, a)
		m, _ := io.ReadFull(g, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false
		}
		if err != nil {
			return true
		}
	}
	return false
}

// diff is a bounded unified diff.
func (t *texts) diff(was, is []byte) string {
	lines := strings.SplitAfter(string(diff.Diff("before", was, "after", is)), "\n")
	if len(lines) <= 4 {
		return ""
	}
	lines = lines[3 : len(lines)-1] // without the names
	room := min(textLines, textAll-t.lines)
	if room <= 0 {
		return ""
	}
	t.lines += min(len(lines), room)
	if more := len(lines) - room; more > 0 {
		lines = append(lines[:room], fmt.Sprintf("… and %d lines more\n", more))
	}
	for i, line := range lines {
		if len(line) > 400 {
			lines[i] = strings.ToValidUTF8(line[:400], "") + "…\n"
		}
	}
	return strings.Join(lines, "")
}
