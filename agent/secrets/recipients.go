package secrets

import (
	"bytes"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"example.org/collie/agent/mistake"
)

// Bounds on a list of recipients.
const (
	mostRecipients = 100
	mostList       = 64 << 10 // bytes
)

// Recipients are those who can read what is encrypted for them.
type Recipients struct {
	Keys []string // as the file has them
	all  []age.Recipient
}

// Has reports whether a public key is among them.
func (r Recipients) Has(key string) bool {
	for _, k := range r.Keys {
		if k == key {
			return true
		}
	}
	return false
}

// ParseRecipients reads a list: a key a line, and comments that begin with #, as `age -R` does. It tells all mistakes, and
// quotes none of them: a private key may be there by mistake.
func ParseRecipients(file string, text []byte) (Recipients, error) {
	var (
		r        Recipients
		mistakes mistake.List
		first    = map[string]int{}
		wrong    = func(line int, hint, format string, args ...any) {
			mistakes = append(mistakes, &mistake.Error{File: file, Line: line, Says: fmt.Sprintf(format, args...), Hint: hint})
		}
	)
	if len(text) > mostList {
		wrong(0, "it is a list of public keys, one a line", "has more than %d KiB", mostList>>10)
		return r, mistakes
	}
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' {
			if isPrivate(line) {
				wrong(n, leaked, "is a private key")
			}
			continue
		}
		key, says, hint := parseRecipient(line)
		name := line
		if words := strings.Fields(line); len(words) > 2 { // the comment of an SSH key
			name = words[0] + " " + words[1]
		}
		switch {
		case says != "":
			wrong(n, hint, "%s", says)
		case first[name] != 0:
			wrong(n, "remove one of them", "is the key of line %d again", first[name])
		case len(r.Keys) == mostRecipients:
			wrong(n, "", "is one too many: there may be %d keys", mostRecipients)
			return Recipients{}, mistakes
		default:
			first[name] = n
			r.Keys, r.all = append(r.Keys, name), append(r.all, key)
		}
	}
	if len(mistakes) == 0 && len(r.Keys) == 0 {
		wrong(1, "put those of the machine (`collie key`) and of an operator (`collie secret keygen`) there", "names no key")
	}
	if len(mistakes) > 0 {
		return Recipients{}, mistakes
	}
	return r, nil
}

const leaked = "whoever sees the repository has it now: make a new one, and give only its public key"

// parseRecipient reads a public key, or says what is wrong with it, and what to do.
func parseRecipient(line string) (key age.Recipient, says, hint string) {
	switch {
	case isPrivate(line):
		return nil, "is a private key", leaked
	case strings.HasPrefix(line, "age1pq1"):
		return nil, "is a post-quantum key, which can't be mixed with others", "use one that begins with age1 and has 62 characters"
	case strings.HasPrefix(line, "age1"):
		if key, err := age.ParseX25519Recipient(line); err == nil {
			return key, "", ""
		}
		return nil, "isn't an age public key", "one begins with age1 and has 62 characters; plugins aren't supported"
	case strings.HasPrefix(line, "ssh-ed25519 "):
		if key, err := agessh.ParseRecipient(line); err == nil {
			return key, "", ""
		}
		return nil, "isn't an SSH public key", "put the line of the file that ends in .pub there"
	case strings.HasPrefix(line, "ssh-"), strings.HasPrefix(line, "ecdsa-"), strings.HasPrefix(line, "sk-"):
		return nil, "is an SSH key of another kind than ssh-ed25519, which isn't supported", ""
	}
	return nil, "isn't a public key", "one begins with age1 or ssh-ed25519"
}
