package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

// The public half of a key that nobody has.
const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKjFMOZOUTKMrxL7zs5Oxb36ywwZRNz06pCRpRdKZrL"

func open(t *testing.T) *Identity {
	t.Helper()
	id, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func recipients(t *testing.T, keys ...string) Recipients {
	t.Helper()
	r, err := ParseRecipients("recipients", []byte(strings.Join(keys, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhoeverIsOnTheListCanDecrypt(t *testing.T) {
	one, two, other := open(t), open(t), open(t)
	file, err := Encrypt([]byte("hunter2"), recipients(t, "# the machine", one.Public, two.Public, sshKey+" ann@home"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []*Identity{one, two} {
		if text, err := id.Decrypt(file); err != nil || string(text) != "hunter2" {
			t.Errorf("got %q, %v", text, err)
		}
	}
	_, err = other.Decrypt(file)
	if want := "it is encrypted for other keys: 2 of age (X25519), 1 of ssh-ed25519"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFilesThatCannotBeDecrypted(t *testing.T) {
	id := open(t)
	file, err := Encrypt(bytes.Repeat([]byte("hunter2 "), 20_000), recipients(t, id.Public))
	if err != nil {
		t.Fatal(err)
	}
	binary := func(r age.Recipient, text []byte) []byte {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, r)
		if err == nil {
			_, err = w.Write(text)
			err = errors.Join(err, w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	self, err := age.ParseX25519Recipient(id.Public)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := id.Decrypt(binary(self, []byte("hunter2"))); err != nil || string(text) != "hunter2" {
		t.Errorf("binary: got %q, %v", text, err)
	}
	scrypt, err := age.NewScryptRecipient("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	scrypt.SetWorkFactor(1)
	for name, row := range map[string]struct {
		file []byte
		want string
	}{
		"plain":      {[]byte("password: hunter2\n"), "it isn't a file of age, or it is damaged"},
		"empty":      {nil, "it isn't a file of age, or it is damaged"},
		"a header":   {[]byte("age-encryption.org/v1\n-> hunter2\n"), "it isn't a file of age, or it is damaged"},
		"cut off":    {file[:len(file)/2], "it is damaged: not all of it can be decrypted"},
		"much":       {make([]byte, MostEncrypted+1), "it is larger than 2 MiB"},
		"much of it": {binary(self, make([]byte, mostText+1)), "it holds more than 1 MiB"},
		"passphrase": {binary(scrypt, []byte("a")), "it is encrypted with a passphrase, which isn't supported"},
		"plugin":     {binary(plugin{}, []byte("a")), "it is encrypted for other keys: 1 of a kind that isn't supported"},
	} {
		if text, err := id.Decrypt(row.file); err == nil || err.Error() != row.want || text != nil {
			t.Errorf("%s: got %q, %v; want %s", name, text, err, row.want)
		}
	}
}

type plugin struct{}

func (plugin) Wrap([]byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "hunter2", Body: []byte("x")}}, nil
}

func TestRecipientsThatAreRefused(t *testing.T) {
	key := open(t).Public
	private, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	var many []string
	for range mostRecipients + 1 {
		many = append(many, open(t).Public)
	}
	for name, row := range map[string]struct{ text, want string }{
		"nothing":     {"# nobody\n", "r:1: names no key\n  hint: "},
		"a word":      {key + "\nhunter2\n", "r:2: isn't a public key\n  hint: "},
		"cut off":     {key[:40], "r:1: isn't an age public key\n  hint: "},
		"twice":       {key + "\n\n" + key, "r:3: is the key of line 1 again"},
		"ssh, twice":  {sshKey + " a\n" + sshKey + " b", "r:2: is the key of line 1 again"},
		"another ssh": {"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ ann", "r:1: is an SSH key of another kind"},
		"broken ssh":  {"ssh-ed25519 hunter2", "r:1: isn't an SSH public key"},
		"quantum":     {"age1pq1hunter2", "r:1: is a post-quantum key"},
		"plugin":      {"age1yubikey1hunter2", "r:1: isn't an age public key"},
		"private":     {string(private), "r:2: is a private key"},
		"a remark":    {"# age-secret-key-1hunter2\n" + key, "r:1: is a private key"},
		"two":         {"hunter2\nhunter2", "r:1: isn't a public key\n  hint: one begins with age1 or ssh-ed25519\nr:2: isn't"},
		"many":        {strings.Join(many, "\n"), "r:101: is one too many"},
		"large":       {strings.Repeat("#\n", mostList), "r: has more than 64 KiB"},
	} {
		_, err := ParseRecipients("r", []byte(row.text))
		if err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", name, err, row.want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: it quotes what may be secret: %v", name, err)
		}
	}
}

// Keys are made once, for their owner alone, and stay.
func TestKeysStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	one, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := HashKey(dir)
	if err != nil || len(hash) != 32 {
		t.Fatal(hash, err)
	}
	two, err := Open(dir)
	if err != nil || two.Public != one.Public {
		t.Errorf("the key was %s, and is %v (%v)", one.Public, two, err)
	}
	again, err := HashKey(dir)
	if err != nil || !bytes.Equal(again, hash) {
		t.Errorf("the key of hashes was %x, and is %x (%v)", hash, again, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the folder are %v (%v)", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v (%v)", e.Name(), info.Mode(), err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if said := fmt.Sprintf(verb, one); said != "[redacted]" {
			t.Errorf("%s prints %s", verb, said)
		}
	}
	broken := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("AGE-SECRET-KEY-hunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	broken(IdentityFile) // a person may have a copy
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "holds no identity of age") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a broken identity: %v", err)
	}
	aside := broken(hashFile) + ".broken" // any other does
	next, err := HashKey(dir)
	if err != nil || bytes.Equal(next, hash) {
		t.Errorf("a broken key for hashes: %x, %v", next, err)
	}
	if _, err := os.Stat(aside); err != nil {
		t.Error(err)
	}
	for _, name := range []string{IdentityFile, hashFile} {
		file := filepath.Join(dir, name)
		if err := os.Chmod(file, 0o640); err != nil {
			t.Fatal(err)
		}
		_, one := Open(dir)
		_, two := HashKey(dir)
		if err := errors.Join(one, two); err == nil || !strings.Contains(err.Error(), "chmod 600 "+file) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// After a new key was put before the old one, what is encrypted for either can be decrypted.
func TestAnOldKeyStillDecrypts(t *testing.T) {
	dir := t.TempDir()
	old, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Encrypt([]byte("hunter2"), recipients(t, old.Public))
	if err != nil {
		t.Fatal(err)
	}
	had, err := os.ReadFile(filepath.Join(dir, IdentityFile))
	if err != nil {
		t.Fatal(err)
	}
	next, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, IdentityFile), append(next, had...), 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := Open(dir)
	if err != nil || both.Public == old.Public {
		t.Fatal(both, err)
	}
	if text, err := both.Decrypt(file); err != nil || string(text) != "hunter2" {
		t.Errorf("got %q, %v", text, err)
	}
}

// FuzzRecipients: a list is keys that can be encrypted for, or a mistake that quotes none of it.
func FuzzRecipients(f *testing.F) {
	for _, text := range []string{"# a\n" + sshKey + " ann\n", "hunter2", "age1hunter2", "AGE-SECRET-KEY-1HUNTER2", "ssh-ed25519 hunter2", "\x00\n\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecipients("r", []byte(text))
		if err != nil {
			if strings.Contains(err.Error(), "hunter2") || len(r.Keys) > 0 {
				t.Errorf("%q: %v, %v", text, r.Keys, err)
			}
			return
		}
		if _, err := Encrypt([]byte("x"), r); err != nil || len(r.Keys) == 0 || len(r.Keys) != len(r.all) {
			t.Errorf("%q: %d keys, %v", text, len(r.Keys), err)
		}
	})
}

// FuzzDecrypt: whatever a commit has for an encrypted file, it is a mistake of few words.
func FuzzDecrypt(f *testing.F) {
	id, err := Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	r, err := ParseRecipients("r", []byte(id.Public))
	if err != nil {
		f.Fatal(err)
	}
	file, err := Encrypt([]byte("hunter2"), r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("age-encryption.org/v1\n-> X25519 hunter2\nhunter2\n--- hunter2\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := id.Decrypt(file); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", file, err)
		}
	})
}
