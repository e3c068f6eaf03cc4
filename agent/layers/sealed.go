package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/secrets"
	"example.org/collie/manifests"
)

// Where a repository has Secrets that are encrypted, and for whom.
const (
	secretsDir     = "secrets"
	recipientsFile = secretsDir + "/recipients"
	secretFilesDir = secretsDir + "/files" // of services
)

// PlainName is what users, groups, hosts and secrets may be called.
var PlainName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,62}$`)

// KeysDir is where, in the state folder, the machine has what is its own.
const KeysDir = "keys"

// Bounds on the encrypted files of a revision.
const (
	mostSealed      = 1000
	mostSealedBytes = 16 << 20 // all together, as of manifests
)

// sealed names the files with encrypted Secrets that this host has, as the repository names them, and the files in
// their folders that shouldn't be there.
func (v view) sealed() (files []string, mistakes mistake.List) {
	entries, size := map[string]fs.DirEntry{}, int64(0)
	for _, dir := range []string{secretsDir, path.Join(v.dir, secretsDir)} {
		in, err := fs.ReadDir(v.repository, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			mistakes = append(mistakes, &mistake.Error{File: dir, Says: err.Error()})
		}
		for _, e := range in {
			entries[v.at(path.Join(secretsDir, e.Name()))] = e
		}
	}
	for _, at := range slices.Sorted(maps.Keys(entries)) {
		wrong := func(says string) { mistakes = append(mistakes, &mistake.Error{File: at, Says: says}) }
		e, name := entries[at], path.Base(at)
		switch {
		case e.IsDir() && name == path.Base(secretFilesDir):
		case e.IsDir():
			wrong("is a folder: put its files into the one above")
		case name == path.Base(recipientsFile), strings.HasPrefix(name, "."), path.Ext(name) == ".md":
		case strings.HasSuffix(name, ".yaml.age"), strings.HasSuffix(name, ".yml.age"):
			files = append(files, at)
			if info, err := fs.Stat(v.repository, at); err == nil {
				size += info.Size()
			}
		case path.Ext(name) == ".age":
			wrong("isn't read: name it NAME.yaml.age, if it has Secrets of pods")
		default:
			wrong("isn't encrypted, and whoever sees the repository has read it: change what is secret in it, then see `collie secret encrypt`")
		}
	}
	if len(files) > mostSealed {
		mistakes = append(mistakes, &mistake.Error{File: secretsDir + "/", Says: fmt.Sprintf("there are %d files, and %d are the most", len(files), mostSealed)})
		files = files[:mostSealed]
	}
	if size > mostSealedBytes {
		mistakes = append(mistakes, &mistake.Error{File: secretsDir + "/", Says: fmt.Sprintf("together its files have more than %d MiB", mostSealedBytes>>20)})
		files = nil
	}
	return files, mistakes
}

// secretFiles are the encrypted files with secrets of services, by name, as the repository names them, and
// the files in their folders that shouldn't be there.
func (v view) secretFiles() (files map[string]string, mistakes mistake.List) {
	files = map[string]string{}
	size := int64(0)
	for _, dir := range slices.Compact([]string{secretFilesDir, path.Join(v.dir, secretFilesDir)}) {
		in, err := fs.ReadDir(v.repository, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			mistakes = append(mistakes, &mistake.Error{File: dir, Says: err.Error()})
		}
		for _, e := range in {
			at := v.at(path.Join(secretFilesDir, e.Name()))
			wrong := func(says string) { mistakes = append(mistakes, &mistake.Error{File: at, Says: says}) }
			name, sealed := strings.CutSuffix(e.Name(), ".age")
			switch _, twice := files[name]; {
			case e.IsDir():
				wrong("is a folder: put its files into the one above")
			case strings.HasPrefix(name, "."), path.Ext(name) == ".md":
			case !sealed:
				wrong("isn't encrypted, and whoever sees the repository has read it: change what is secret in it, then see `collie secret encrypt`")
			case !PlainName.MatchString(name):
				wrong("is no name for a file of a service: take letters, digits, dots and hyphens")
			case !twice:
				files[name] = at
				if info, err := fs.Stat(v.repository, at); err == nil {
					size += info.Size()
				}
			}
		}
	}
	if size > mostTogether {
		mistakes = append(mistakes, &mistake.Error{File: secretFilesDir + "/", Says: fmt.Sprintf("together its files have more than %d KiB", mostTogether>>10)})
		files = nil
	}
	return files, mistakes
}

// checkRights adds what collie.yaml says of secrets that no host has, and of owners that can't be.
func (v view) checkRights(cfg repositoryConfig, doc *mistake.Document) {
	own, _ := v.secretFiles()
	for _, name := range slices.Sorted(maps.Keys(cfg.Secrets)) {
		elsewhere, _ := fs.Glob(v.repository, path.Join(hostsDir, "*", secretFilesDir, name+".age"))
		if own[name] == "" && len(elsewhere) == 0 {
			var names []string
			for name := range own {
				names = append(names, name)
			}
			_, hint := mistake.Guess(name, names)
			doc.Wrong("secrets."+name, hint, "there is no %s/%s.age", secretFilesDir, name)
			continue
		}
		said := cfg.Secrets[name]
		for _, account := range []struct{ key, name string }{{"owner", said.Owner}, {"group", said.Group}} {
			if account.name != "" && !PlainName.MatchString(account.name) {
				doc.Wrong("secrets."+name+"."+account.key, "", "%q is no name of a user or group", account.name)
			}
		}
	}
}

// CheckSecret finds what is wrong with a text that is to be encrypted into a file of the repository: those of services hold
// anything, all others Secrets of pods. from is the file that the text is from.
func CheckSecret(file, from string, text []byte) error {
	switch {
	case !OfServices(file):
		return manifests.CheckSealed(manifests.Opened(from, text))
	case len(text) > mostDelivered:
		return mistake.List{{File: from, Says: fmt.Sprintf("a secret of a service has %d KiB at most", mostDelivered>>10)}}
	}
	return nil
}

// OfServices reports whether a file of the repository is for a secret of services.
func OfServices(file string) bool {
	dir := filepath.Dir(file)
	return filepath.Base(dir) == path.Base(secretFilesDir) && filepath.Base(filepath.Dir(dir)) == secretsDir
}

// recipients are those for whom the repository wants Secrets encrypted.
func (v view) recipients() (secrets.Recipients, error) {
	text, err := v.read(recipientsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return secrets.Recipients{}, mistake.List{{File: recipientsFile, Says: "is missing", Hint: "write the public keys of the machine (`collie key`) and of an operator there, a line each"}}
	}
	if err != nil {
		return secrets.Recipients{}, err
	}
	return secrets.ParseRecipients(v.at(recipientsFile), text)
}

// checkSealed finds what is wrong with the encrypted Secrets, as far as that can be seen without decrypting them.
func checkSealed(files view) mistake.List {
	names, mistakes := files.sealed()
	services, more := files.secretFiles()
	mistakes = append(mistakes, more...)
	if len(names)+len(services) > 0 && !files.partial() || files.has(recipientsFile) {
		_, err := files.recipients()
		mistakes = append(mistakes, mistakesOf(err, recipientsFile)...)
	}
	return mistakes
}

// private is what the machine adds to a revision's manifests: what it decrypted, and its key for hashes. wrong are the files that
// it can't decrypt, which count as closed.
func (l podsLayer) private(ctx context.Context, files view) (p manifests.Private, wrong mistake.List, err error) {
	if l.keys == "" {
		return p, nil, nil
	}
	if p.Key, err = secrets.HashKey(l.keys); err != nil {
		return p, nil, err
	}
	names, _ := files.sealed() // its mistakes were reported before
	if len(names) == 0 {
		return p, nil, nil
	}
	identity, err := secrets.Open(l.keys)
	if err != nil {
		return p, nil, err
	}
	recipients, err := files.recipients()
	if wrong = mistake.Of(err); err != nil && wrong == nil {
		return p, nil, err
	}
	if wrong == nil && !recipients.Has(identity.Public) && l.Log != nil {
		l.Log.Warn("the next `collie secret rekey` takes the Secrets from this machine: its key isn't in "+recipientsFile, "key", identity.Public)
	}
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return p, nil, err
		}
		file, err := fs.ReadFile(files.repository, name)
		if err != nil {
			return p, nil, err
		}
		text, err := identity.Decrypt(file)
		if err != nil {
			wrong = append(wrong, &mistake.Error{File: name, Says: err.Error(), Hint: howToOpen(err, identity, recipients)})
			p.Sealed = append(p.Sealed, manifests.Closed(name))
			continue
		}
		p.Sealed = append(p.Sealed, manifests.Opened(name, text))
	}
	return p, wrong, nil
}

// howToOpen says what to do about a file that this machine can't decrypt.
func howToOpen(err error, identity *secrets.Identity, recipients secrets.Recipients) string {
	switch others := new(secrets.ForOthersError); {
	case !errors.As(err, &others):
		return "take it from an older commit, or encrypt it again with `collie secret encrypt`"
	case recipients.Has(identity.Public):
		return "this machine is in " + recipientsFile + ", so the file is older than that: run `collie secret rekey`, and commit what it writes"
	default:
		return "add this machine's key to " + recipientsFile + ", run `collie secret rekey`, and commit both\n  key: " + identity.Public
	}
}

// closed are the encrypted files to who can't decrypt them.
func closed(files view) (p manifests.Private) {
	p.Partial = files.partial()
	names, _ := files.sealed()
	for _, name := range names {
		p.Sealed = append(p.Sealed, manifests.Closed(name))
	}
	return p
}

// sealedNotes are facts about Secrets, encrypted or not, that aren't wrong, but good to know.
func sealedNotes(files view, all *manifests.Manifests) (notes []string) {
	names, _ := files.sealed()
	services, _ := files.secretFiles()
	for _, name := range slices.Concat(names, slices.Sorted(maps.Values(services))) {
		notes = append(notes, name+": is encrypted, so its content isn't checked here")
	}
	if r, err := files.recipients(); err == nil && len(r.Keys) == 1 {
		notes = append(notes, files.at(recipientsFile)+": there is one key: who loses it loses all that is encrypted; add an operator's")
	}
	for _, plain := range all.Plain {
		notes = append(notes, fmt.Sprintf("%s:%d: this Secret can be read by all who see the repository; `collie secret encrypt` makes a file of it that not all can read", plain.File, plain.Line))
	}
	return notes
}
