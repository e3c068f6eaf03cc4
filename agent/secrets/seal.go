package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Bounds on a file.
const (
	mostText      = 1 << 20          // bytes, decrypted
	MostEncrypted = 2 * mostText     // base64 and a hundred recipients are in it
	begin         = "-----BEGIN AGE" // of a file that is text
)

// Encrypt makes a file of text that each of r can decrypt.
func Encrypt(text []byte, r Recipients) ([]byte, error) {
	if len(text) > mostText {
		return nil, fmt.Errorf("this is larger than %d MiB: split it", mostText>>20)
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, r.all...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	err = errors.Join(err, w.Close(), armored.Close())
	return out.Bytes(), err
}

// A ForOthersError says that a file isn't encrypted for an identity.
type ForOthersError struct {
	For []string // the kinds of keys that it is for; age names no keys
}

func (e *ForOthersError) Error() string {
	if len(e.For) == 1 && e.For[0] == "scrypt" {
		return "it is encrypted with a passphrase, which isn't supported"
	}
	counts := map[string]int{}
	for _, kind := range e.For {
		counts[kind]++
	}
	var says []string
	for _, kind := range slices.Compact(slices.Sorted(slices.Values(e.For))) {
		name, known := map[string]string{"X25519": "age (X25519)", "ssh-ed25519": "ssh-ed25519", "ssh-rsa": "ssh-rsa", "mlkem768x25519": "age (post-quantum)"}[kind]
		if !known { // whatever a file says, and a plugin knows
			name = "a kind that isn't supported"
		}
		says = append(says, fmt.Sprintf("%d of %s", counts[kind], name))
	}
	return "it is encrypted for other keys: " + strings.Join(says, ", ")
}

// Decrypt returns what an encrypted file, binary or text, holds.
func (i *Identity) Decrypt(file []byte) ([]byte, error) {
	if len(file) > MostEncrypted {
		return nil, fmt.Errorf("it is larger than %d MiB", MostEncrypted>>20)
	}
	var from io.Reader = bytes.NewReader(file)
	if bytes.HasPrefix(bytes.TrimSpace(file), []byte(begin)) {
		from = armor.NewReader(from)
	}
	r, err := age.Decrypt(from, i.all...)
	if others := new(age.NoIdentityMatchError); errors.As(err, &others) {
		return nil, &ForOthersError{others.StanzaTypes}
	}
	if err != nil { // it may quote the header: that is whatever someone wrote there
		return nil, errors.New("it isn't a file of age, or it is damaged")
	}
	text, err := io.ReadAll(io.LimitReader(r, mostText+1))
	switch {
	case err != nil:
		return nil, errors.New("it is damaged: not all of it can be decrypted")
	case len(text) > mostText:
		return nil, fmt.Errorf("it holds more than %d MiB", mostText>>20)
	}
	return text, nil
}
