package guix

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A BuildError is the commit's fault: Guix refused, or couldn't build, what the repository describes.
type BuildError struct {
	File   string // in the repository; empty if Guix named none
	Line   int    // from 1; 0 if Guix named none
	Column int
	Says   string // Guix's own lines, bounded, with files named as in the repository
	Log    string // all that Guix said
}

func (e *BuildError) Error() string { return e.Says }

// What Guix says when the machine or the network is at fault, not the commit: worth a retry. Its exit code is always 1.
// Seen with guix 1.5.0 (testdata), where no other source is given.
var transient = []struct {
	text *regexp.Regexp
	says string
}{
	{regexp.MustCompile("failed to connect to [`'].*daemon-socket|failed to connect to [`']/"), "guix-daemon can't be reached: start it with `herd start guix-daemon`"},
	{regexp.MustCompile(`No space left on device`), "the disk is full: free some space, for example with `guix gc`"},
	{regexp.MustCompile(`Disk quota exceeded`), "the disk quota is used up"},
	{regexp.MustCompile(`Cannot allocate memory|Too many heap sections|Out of memory|virtual memory exhausted`), "the memory is used up"}, // libgc's words
	{regexp.MustCompile(`Resource temporarily unavailable|Too many open files`), "a limit of the machine is reached"},
	{regexp.MustCompile(`(?i)database is (busy|locked)`), "the store's database is busy"},
	{regexp.MustCompile(`corrupt input while restoring archive|unexpected EOF reading a line|protocol mismatch|nix-daemon|Broken pipe`), "guix-daemon went away"},
	{regexp.MustCompile(`Temporary failure in name resolution|Name or service not known|In procedure getaddrinfo`), "a name can't be resolved: is the network there?"},
	{regexp.MustCompile(`In procedure connect\*?: |Network is unreachable|No route to host|Connection (reset|refused|timed out)|TLS (error|handshake)|gnutls-error`), "the network can't be reached"},
	{regexp.MustCompile(`usually happens due to networking issues|guix substitute: error`), "a substitute can't be had"}, // nix/libstore/build.cc
	{regexp.MustCompile(`some outputs of .* are not valid, so checking is not possible|path .* is locked`), "another guix is in the way"},
}

// failure says why guix didn't end with 0. Paths below tree are shown as in the repository.
func (o outcome) failure(tree string) error {
	says := o.says(tree)
	for _, t := range transient {
		if found := t.text.FindString(o.text); found != "" {
			return fmt.Errorf("%s (guix: %s; see %s)", t.says, shorten(strings.TrimSpace(lineWith(o.text, found))), o.log)
		}
	}
	e := &BuildError{Says: says, Log: o.log}
	if at := place.FindStringSubmatch(says); at != nil {
		e.File = at[1]
		e.Line, _ = strconv.Atoi(at[2])
		e.Column, _ = strconv.Atoi(at[3])
	}
	return e
}

var (
	escape   = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")
	noise    = regexp.MustCompile(`^(substitute: |/bin/sh: warning: setlocale|building |successfully built |substitut|download|The following |Computing |  +/gnu/store/|/gnu/store/\S+$|\[ *\d+/ *\d+\] |;;; |Starting download |From |cannot build derivation |build of /gnu/store|guix \w+: warning: (Consider running|cannot determine provenance))`)
	frame    = regexp.MustCompile(`^(In (.+):|Backtrace:| *\d+:\d+ +\d+ \(| +\d+ \()`)
	inTree   = regexp.MustCompile(`^In (.+):$`)
	frameAt  = regexp.MustCompile(`^ *(\d+):(\d+) +\d+ \(`)
	builder  = regexp.MustCompile("^builder for [`']/gnu/store/[a-z0-9]+-(.*)' (failed.*)$")
	guixSays = regexp.MustCompile(`^guix [a-z-]+: error: `)
	place    = regexp.MustCompile(`(?m)^([\w./+@-]+\.scm):(\d+):(\d+): `)
	guileAt  = regexp.MustCompile(`^(ice-9|guix|gnu|srfi|system|rnrs)/\S+\.scm:\d+:\d+: `)
	item     = regexp.MustCompile(`/gnu/store/[a-z0-9]{32}-`)
	locales  = "hint: Consider installing the `glibc-locales' package"
)

// clean drops what is for a terminal only.
func clean(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ToValidUTF8(escape.ReplaceAllString(text, ""), "�")) {
		line = strings.TrimRight(line, "\r\n")
		line = line[strings.LastIndexByte(line, '\r')+1:] // a progress bar is written over and over
		b.WriteString(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f {
				return -1
			}
			return r
		}, line))
		b.WriteByte('\n')
	}
	return b.String()
}

// says picks the lines that tell a person what to mend.
func (o outcome) says(tree string) string {
	lines := strings.Split(o.text, "\n")
	at := placeInTree(lines, tree)
	if i := slices.IndexFunc(lines, builder.MatchString); i >= 0 {
		return buildFailure(lines, i)
	}
	var kept []string
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, locales) { // five lines about Guix's own locales, which aren't the user's matter
			for i++; i < len(lines) && !strings.HasPrefix(line, "See the "); i++ {
				line = lines[i]
			}
			continue
		}
		if strings.TrimSpace(line) == "" || noise.MatchString(line) || frame.MatchString(line) {
			continue
		}
		if where := guileAt.FindString(line); where != "" && at != "" { // a line of Guile's or Guix's own: say the user's
			line = at + strings.TrimPrefix(line, where)
		}
		line = guixSays.ReplaceAllString(line, "")
		kept = append(kept, shorten(inRepository(line, tree)))
	}
	kept = slices.DeleteFunc(kept, func(line string) bool { // the line that follows it says the place too
		return len(kept) > 1 && strings.HasPrefix(line, "failed to load ") && strings.HasSuffix(line, ":")
	})
	if len(kept) == 0 {
		return fmt.Sprintf("guix %s ended with %d and said nothing; see %s", o.what, o.code, o.log)
	}
	return strings.Join(bound(kept), "\n")
}

// buildFailure is for the derivation that failed, whose builder's own last words come just before line i.
func buildFailure(lines []string, i int) string {
	failed := builder.FindStringSubmatch(lines[i])
	kept := []string{strings.TrimSuffix(failed[1], ".drv") + " " + strings.TrimPrefix(failed[2], "failed ")}
	kept[0] = strings.TrimSuffix(failed[1], ".drv") + " couldn't be built: the builder " + failed[2]
	var last []string
	for j := i - 1; j >= 0 && len(last) < 6 && !noise.MatchString(lines[j]); j-- {
		if strings.TrimSpace(lines[j]) != "" && !frame.MatchString(lines[j]) {
			last = append([]string{shorten(item.ReplaceAllString(lines[j], ""))}, last...)
		}
	}
	kept = append(kept, last...)
	for _, line := range lines[i:min(i+4, len(lines))] {
		if strings.HasPrefix(line, "View build log at ") {
			kept = append(kept, "hint: v"+line[1:])
		}
	}
	return strings.Join(bound(kept), "\n")
}

// placeInTree is the innermost line of the user's own in a backtrace, as "system.scm:36:18: ", or nothing.
func placeInTree(lines []string, tree string) string {
	var file, at string
	for _, line := range lines {
		if in := inTree.FindStringSubmatch(line); in != nil {
			file = ""
			if name, ok := strings.CutPrefix(in[1], tree+"/"); ok {
				file = name
			}
		} else if f := frameAt.FindStringSubmatch(line); f != nil && file != "" {
			at = fmt.Sprintf("%s:%s:%s: ", file, f[1], f[2])
		}
	}
	return at
}

// inRepository names files as the user knows them.
func inRepository(line, tree string) string {
	if tree != "" {
		line = strings.ReplaceAll(line, tree+"/", "")
	}
	return item.ReplaceAllString(line, "")
}

// shorten keeps both ends of a line: a record with a wrong field is printed whole, and its fault comes last.
func shorten(line string) string {
	const head, tail = 100, 200
	if r := []rune(line); len(r) > head+tail+3 {
		return string(r[:head]) + " … " + string(r[len(r)-tail:])
	}
	return line
}

func bound(lines []string) []string {
	const most = 12
	if len(lines) > most {
		return append(append(lines[:most/2:most/2], "…"), lines[len(lines)-most/2:]...)
	}
	return lines
}

func lineWith(text, part string) string {
	i := strings.Index(text, part)
	from := strings.LastIndexByte(text[:i], '\n') + 1
	line, _, _ := strings.Cut(text[from:], "\n")
	return line
}

var doing = regexp.MustCompile(`^(building|substituting|downloading) (?:/gnu/store/[a-z0-9]{32}-)?(.*?)(?:\.drv)?(?:\.\.\.)?$`)

// progress is the newest thing that guix said it is at, in a few words.
func progress(text string) string {
	lines := strings.Split(clean(text), "\n")
	for _, line := range slices.Backward(lines) {
		if d := doing.FindStringSubmatch(line); d != nil {
			return shorten(d[1] + " " + d[2])
		}
	}
	return ""
}
