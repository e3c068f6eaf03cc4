package guix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
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

// Rename gives files the names that the repository has for them, where those of the tree are others.
func (e *BuildError) Rename(names map[string]string) {
	rename := func(name string) string { return or2(names[name], name) }
	e.File, e.Says = rename(e.File), namedRE.ReplaceAllStringFunc(e.Says, rename)
}

var namedRE = regexp.MustCompile(`[\w.+@/-]+`)

// failure says why guix didn't end with 0. Paths below tree are shown as in the repository; file is the one of them that
// guix was given.
func (o outcome) failure(tree, file string) error {
	if says, line, found := excuse(o.text); found {
		if says == "" {
			says = fullDisks(o.log)
		}
		return &TransientError{fmt.Errorf("%s (guix: %s; see %s)", says, shorten(line), o.log)}
	}
	says, also := o.says(tree, file)
	if says == "" {
		return fmt.Errorf("guix %s ended with %d and said nothing (see %s)", o.what, o.code, o.log)
	}
	if strings.Contains(says, twoUpgrade) {
		says += "\nhint: Collie upgrades this machine, and the two would undo each other's work: remove `unattended-upgrade-service-type`"
	}
	e := &BuildError{File: file, Says: says, Log: o.log}
	found := clues(tree, says)
	if len(found) > 0 {
		e.File, e.Line = found[0].file, found[0].line
		for _, f := range slices.Backward(found) {
			e.Says = f.String() + "\n" + e.Says
		}
	} else if at := placeRE.FindStringSubmatch(says); at != nil {
		e.File = at[1]
		e.Line, _ = strconv.Atoi(at[2])
		e.Column, _ = strconv.Atoi(at[3])
	} else if file != "" && !strings.Contains(says, file) { // Guix named no file: it is, or is loaded by, the one it was given
		e.Says = file + ": " + says
	}
	if also != "" {
		e.Says += "\n" + also
	}
	return e
}

// fault says why a guix that evaluates nothing didn't end with 0: that isn't the commit's fault, whatever it says.
func (o outcome) fault() error {
	if o.code == 0 {
		return nil
	}
	err := o.failure("", "")
	if bad := (*BuildError)(nil); errors.As(err, &bad) {
		return fmt.Errorf("%s: %s (see %s)", o.what, bad.Says, o.log)
	}
	return err
}

// twoUpgrade is what Guix says if a system has `unattended-upgrade-service-type` and Collie's service, which provides that name too.
const twoUpgrade = "service 'unattended-upgrade' provided more than once"

var (
	escape    = regexp.MustCompile("(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]")
	noise     = regexp.MustCompile(`^(substitute: |guix substitute: warning|warning: SQLite database is busy|Updating channel |Authenticating (commits|channel) |/bin/sh: warning: setlocale|building |successfully built |substitut|download|The following |Computing |  +/gnu/store/|/gnu/store/\S+$|\[ *\d+/ *\d+\] |;;; |Starting download |From |cannot build derivation |build of /gnu/store|guix \w+: warning: (Consider running|cannot determine provenance))`)
	frame     = regexp.MustCompile(`^(In (.+):|Backtrace:| *\d+:\d+ +\d+ \(| +\d+ \()`)
	inTree    = regexp.MustCompile(`^In (.+):$`)
	frameAt   = regexp.MustCompile(`^ *(\d+):(\d+) +\d+ \(`)
	besides   = regexp.MustCompile(`^(successfully built /gnu/store/.*|The following builds? (is|are) still in progress:| +/gnu/store/.*\.drv|)$`) // of builds other than the one that failed
	builderRE = regexp.MustCompile("(?m)^(?:builder for|building of) [`']/gnu/store/[a-z0-9]+-(.*)' (failed.*|timed out.*)$")
	otherHash = regexp.MustCompile(`^\w+ hash mismatch for /gnu/store/\S+:$`)
	warningRE = regexp.MustCompile(`^(guix [a-z-]+: |\S+:\d+:\d+: )?warning: `)
	guixWarns = regexp.MustCompile(`^guix [a-z-]+: warning: `)
	procedure = regexp.MustCompile(`^(\S+:\d+:\d+: |[\w./-]+\.scm: |)In procedure [^ :]+:$`)
	loadFails = regexp.MustCompile(`^failed to load .*:$`)
	quits     = regexp.MustCompile("^(\\S+:\\d+:\\d+: |[\\w./-]+\\.scm: |)Throw to key `quit' with args ")
	guixSays  = regexp.MustCompile(`^guix [a-z-]+: error: `)
	placeRE   = regexp.MustCompile(`(?m)^([\w.+@-][\w./+@-]*\.scm):(\d+):(\d+): `)
	guileAt   = regexp.MustCompile(`^(ice-9|guix|gnu|srfi|system|rnrs)/\S+\.scm:\d+:\d+: `)
	itemRE    = regexp.MustCompile(`/gnu/store/[a-z0-9]{32}-`)
	locales   = "hint: Consider installing the `glibc-locales' package"
)

// clean drops what is for a terminal only, and what a reader wouldn't see, or would see elsewhere.
func clean(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ToValidUTF8(escape.ReplaceAllString(text, ""), "�")) {
		line = strings.TrimRight(line, "\r\n")
		line = line[strings.LastIndexByte(line, '\r')+1:] // a progress bar is written over and over
		b.WriteString(strings.Map(func(r rune) rune {
			if r != '\t' && !unicode.IsGraphic(r) {
				return -1
			}
			return r
		}, line))
		b.WriteByte('\n')
	}
	return b.String()
}

// says picks the lines that tell a person what to mend: why guix failed, and apart from that what else it said.
func (o outcome) says(tree, file string) (why, also string) {
	lines := strings.Split(o.text, "\n")
	if i := slices.IndexFunc(lines, otherHash.MatchString); i >= 0 {
		return hint(otherFile(lines, i), lines[i:]), ""
	}
	if i := slices.IndexFunc(lines, builderRE.MatchString); i >= 0 {
		return buildFailure(lines, i), ""
	}
	at := placeInTree(lines, tree)
	var whys, asides []string
	thrown := "" // where Guile says an error came from that Guix had said already
	for _, m := range remarks(lines) {
		for i, line := range m.lines {
			line = guixSays.ReplaceAllString(line, "")
			if where := guileAt.FindString(line); where != "" { // a line of Guile's or Guix's own: say the user's, if it is known
				line = at + strings.TrimPrefix(line, where)
			}
			m.lines[i] = shorten(inRepository(line, tree))
		}
		said := whyFirst(m.lines, file)
		switch where := quits.FindStringSubmatch(said[0]); {
		case where != nil:
			thrown = where[1]
		case m.warning:
			asides = append(asides, "also: "+guixWarns.ReplaceAllString(said[0], "warning: "))
			asides = append(asides, said[1:]...)
		default:
			whys = append(whys, said...)
		}
	}
	if len(whys) > 0 && thrown != "" && !placeRE.MatchString(strings.Join(whys, "\n")) {
		whys[0] = thrown + whys[0]
	}
	if len(whys) == 0 { // no more is known
		return strings.TrimPrefix(strings.Join(bound(asides), "\n"), "also: "), ""
	}
	return strings.Join(bound(whys), "\n"), strings.Join(bound(asides), "\n")
}

// A remark is an error, or a warning, with the lines that belong to it.
type remark struct {
	warning bool
	lines   []string
}

// awaits reports whether why comes next.
func (m *remark) awaits() bool { return strings.HasSuffix(m.lines[len(m.lines)-1], ":") }

// remarks are what Guix tells the user, without what it tells of its own doings. A warning is one line, and a second where the
// first ends in a colon; a hint goes up to the next blank line.
func remarks(lines []string) (all []*remark) {
	var m *remark
	hints := false
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, locales) { // five lines about Guix's own locales, which aren't the user's matter
			for i++; i < len(lines) && !strings.HasPrefix(line, "See the "); i++ {
				line = lines[i]
			}
			continue
		}
		if strings.TrimSpace(line) == "" {
			if hints || m != nil && m.warning && !m.awaits() {
				m, hints = nil, false
			}
			continue
		}
		if noise.MatchString(line) || frame.MatchString(line) {
			continue
		}
		isHint, warns := strings.HasPrefix(line, "hint: "), warningRE.MatchString(line)
		switch {
		case m != nil && isHint:
			hints = true
		case m == nil, warns, guixSays.MatchString(line), !hints && !m.awaits() && (m.warning || placeRE.MatchString(line) || guileAt.MatchString(line)):
			m = &remark{warning: warns}
			hints = isHint
			all = append(all, m)
		}
		m.lines = append(m.lines, line)
	}
	return all
}

// whyFirst is a message with why something failed in its first line.
func whyFirst(lines []string, file string) []string {
	lines = slices.Clone(lines)
	loads := len(lines) > 1 && loadFails.MatchString(lines[0])
	if loads {
		lines = lines[1:]
	}
	if in := procedure.FindStringSubmatch(lines[0]); in != nil && len(lines) > 1 {
		lines = lines[1:]
		lines[0] = in[1] + lines[0]
	}
	if loads && !placeRE.MatchString(lines[0]) && !strings.Contains(lines[0], file) {
		lines[0] = file + ": " + lines[0]
	}
	if strings.HasSuffix(lines[0], ":") && len(lines) > 1 {
		lines[1] = lines[0] + " " + lines[1]
		lines = lines[1:]
	}
	return lines
}

// buildFailure is for the derivation that failed, whose builder's own last words come just before line i.
func buildFailure(lines []string, i int) string {
	failed := builderRE.FindStringSubmatch(lines[i])
	var last []string
	j := i - 1
	for j >= 0 && besides.MatchString(lines[j]) {
		j--
	}
	for ; j >= 0 && len(last) < 6 && !noise.MatchString(lines[j]); j-- {
		line := guileAt.ReplaceAllString(lines[j], "")
		if strings.TrimSpace(line) != "" && !frame.MatchString(line) && line != "In procedure error:" {
			last = append(last, shorten(itemRE.ReplaceAllString(line, "")))
		}
	}
	slices.Reverse(last)
	return hint(append([]string{strings.TrimSuffix(failed[1], ".drv") + " couldn't be built: its builder " + failed[2]}, last...), lines[i:])
}

// otherFile is for a download that is another file than the commit says, as line i tells.
func otherFile(lines []string, i int) (kept []string) {
	for _, line := range lines[i:min(i+3, len(lines))] {
		kept = append(kept, shorten(itemRE.ReplaceAllString(line, "")))
	}
	return kept
}

// hint adds where Guix keeps what a builder said, which it tells just after.
func hint(kept, after []string) string {
	for _, line := range after[:min(6, len(after))] {
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
	if tree == "" {
		return itemRE.ReplaceAllString(line, "")
	}
	line = strings.NewReplacer(tree+"/", "", LinksOf(tree)+"/", "").Replace(line)
	if at := placeRE.FindStringSubmatch(line); at != nil { // a module is named as on the load path
		if _, err := os.Lstat(filepath.Join(tree, "modules", at[1])); err == nil {
			line = "modules/" + line
		}
	}
	return itemRE.ReplaceAllString(line, "")
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
