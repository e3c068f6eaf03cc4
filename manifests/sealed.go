package manifests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/tree"
)

// Private is what a machine adds to the files of a revision. Nothing of it is ever shown.
type Private struct {
	Key    []byte // of the hashes of Secrets: without it, who sees a hash could try words until one fits. None: they are plain
	Sealed []Sealed

	Partial bool // there may be other files, which aren't known here: what isn't found may be in one
}

// Sealed is a file that is encrypted in the repository, and holds Secrets alone.
type Sealed struct {
	File string
	text func() []byte // a function, as in Redacted; nil: it couldn't be decrypted here
}

// Opened is a file with what was decrypted of it.
func Opened(file string, text []byte) Sealed { return Sealed{file, func() []byte { return text }} }

// Closed is a file that can't be looked into here: what Secrets are in it nobody knows.
func Closed(file string) Sealed { return Sealed{File: file} }

// size is how many bytes were decrypted of it.
func (s Sealed) size() int {
	if s.text == nil {
		return 0
	}
	return len(s.text())
}

// CheckSealed checks one such file by itself. Its mistakes show nothing of what is in it.
func CheckSealed(s Sealed) error {
	c := &checker{}
	c.open(s)
	c.bind()
	if len(c.docs) == 0 && len(c.errs) == 0 {
		c.wrong(place{file: s.File, line: 1}, "", noSecret)
	}
	if len(c.errs) == 0 {
		return nil
	}
	mistakes := c.mistakes()
	for _, e := range mistakes {
		e.Hint = "" // who checks it has it
	}
	return mistakes
}

// open reads a sealed file, as file does a plain one.
func (c *checker) open(s Sealed) {
	if c.sealed == nil {
		c.sealed = map[string]bool{}
	}
	c.sealed[s.File] = true
	if s.text == nil {
		c.closed = true
		return
	}
	text := s.text()
	if len(text) > mostFile {
		c.torn = true
		c.wrong(place{file: s.File, line: 1}, "split it", "is larger than %d MiB", mostFile>>20)
		return
	}
	c.file(s.File, text)
}

const (
	onlySecrets = "only Secrets can be encrypted"
	noSecret    = "holds no Secret"
)

// public is the text of a mistake in a sealed file: nothing in it comes from there, except numbers of lines.
var public = regexp.MustCompile(`\A(is (missing|empty|too much: all files together may have \d+ MiB|not base64|not YAML here|not UTF-8 text|larger than \d+ MiB|nested .*)|` +
	`there is no such field|is given twice, first in line \d+|has a tag, which is not supported|a file may hold \d+ documents|` +
	`(must|a key must) (be|hold) .*|is no object with keys and values|no pod uses this Secret|` + onlySecrets + `|` + noSecret + `)\z`)

// openFields are those of a Secret whose names say nothing of what is in it.
var openFields = []string{"apiVersion", "kind", "metadata", "metadata.name", "data", "stringData", "type", "immutable"}

// shut takes out of what is said of a sealed file all that could come from it: the keys of a map, a word that is quoted.
func shut(field, says string) (string, string) {
	if !public.MatchString(says) && !mistake.OfSyntax(says) {
		says = "is not as it must be; what is there isn't shown"
	}
	for field != "" && !slices.Contains(openFields, field) {
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return field, says
}

func (c *checker) shutMistakes() {
	for _, e := range c.errs {
		if c.sealed[e.File] {
			e.Field, e.Says = shut(e.Field, e.Says)
			e.Hint = "see it with `collie secret edit " + e.File + "`"
		}
	}
}

func (c *checker) shutNotes() {
	for i, n := range c.notes {
		if c.sealed[n.File] {
			c.notes[i].Field, c.notes[i].Says = shut(n.Field, n.Says)
		}
	}
}

// secretSum hashes the content of a Secret with the machine's own key.
func secretSum(key []byte, content map[string]any) string {
	if len(key) == 0 {
		return tree.Sum(content)
	}
	data, err := json.Marshal(content)
	if err != nil { // maps and texts: nothing that JSON doesn't know
		panic(fmt.Sprintf("hashing a Secret: %v", err))
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil))
}
