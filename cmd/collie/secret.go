package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/secrets"
)

func secretCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Encrypt, edit and decrypt the Secrets of a repository",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(secretEncryptCmd(c), secretEditCmd(c), secretDecryptCmd(c), secretRekeyCmd(c), secretKeygenCmd(c))
	return cmd
}

func secretEncryptCmd(c *cli) *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "encrypt [FILE]",
		Short: "Encrypt Secrets for the keys in secrets/recipients",
		Long: "Encrypt Kubernetes Secrets from FILE or from standard input, for the keys in secrets/recipients. If the output is in\n" +
			"hosts/NAME/secrets and the host has its own recipients, these are used. Files in secrets/files are for services and can\n" +
			"have any content. Encrypting needs no private key.",
		Example: "  collie secret encrypt -o secrets/db.yaml.age\n  collie secret encrypt db.yaml --output secrets/db.yaml.age\n  collie secret encrypt wg.key -o secrets/files/wg.key.age",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if into == "" {
				return &exitError{exitUsage, errors.New("name the file to write, for example --output secrets/db.yaml.age")}
			}
			from, name := cmd.InOrStdin(), "standard input"
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				from, name = f, args[0]
			}
			text, err := io.ReadAll(io.LimitReader(from, secrets.MostEncrypted))
			if err != nil {
				return err
			}
			return seal(into, name, text)
		},
	}
	cmd.Flags().StringVarP(&into, "output", "o", "", "the `FILE` to write, such as secrets/db.yaml.age")
	return cmd
}

func secretDecryptCmd(c *cli) *cobra.Command {
	var identity string
	cmd := &cobra.Command{
		Use:     "decrypt FILE",
		Short:   "Write the content of an encrypted file to standard output",
		Example: "  collie secret decrypt secrets/db.yaml.age",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := readIdentity(identity)
			if err != nil {
				return err
			}
			text, err := unseal(args[0], id)
			if err != nil {
				return err
			}
			_, err = c.out.Write(text)
			return err
		},
	}
	identityFlag(cmd, &identity)
	return cmd
}

func secretRekeyCmd(c *cli) *cobra.Command {
	var identity string
	cmd := &cobra.Command{
		Use:   "rekey [DIR]",
		Short: "Encrypt all Secrets of a repository again, for the keys now in secrets/recipients",
		Long: "Encrypt all Secrets of the repository in DIR again, for the keys that are now in secrets/recipients. Nothing is written\n" +
			"unless all can be decrypted. A removed key can still decrypt the files in git's history: change the secrets\n" +
			"themselves, too.",
		Example: "  collie secret rekey\n  collie secret rekey ops --identity key.txt",
		Args:    takes(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := sealedFiles(slices.Concat(args, []string{"."})[0])
			if err != nil {
				return err
			}
			id, err := readIdentity(identity)
			if err != nil {
				return err
			}
			return c.rekey(files, id)
		},
	}
	identityFlag(cmd, &identity)
	return cmd
}

func secretKeygenCmd(c *cli) *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key for yourself, and show its public half for secrets/recipients",
		Long: "Make a key for yourself, as age-keygen does, and show its public half: a line for secrets/recipients. An existing file is\n" +
			"not overwritten.",
		Example: "  collie secret keygen\n  collie secret keygen -o key.txt",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			file := into
			if file == "" {
				var err error
				if file, err = ownIdentity(); err != nil {
					return err
				}
			}
			text, err := secrets.Generate()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists already and is kept: without it, everything that is encrypted for it is lost", file)
			}
			if err != nil {
				return err
			}
			_, err = f.Write(text)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			id, err := secrets.Read(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.err, "the private key is in %s: keep a copy elsewhere\n", file)
			_, err = fmt.Fprintln(c.out, id.Public)
			return err
		},
	}
	cmd.Flags().StringVarP(&into, "output", "o", "", "the `FILE` to write (by default ~/.config/collie/identity)")
	return cmd
}

func identityFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "identity", "i", "", "the `FILE` with your private key (by default ~/.config/collie/identity, or ~/.ssh/id_ed25519)")
}

// ownIdentity is where an operator has a key.
func ownIdentity() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "collie", "identity"), err
}

// readIdentity is the operator's key: in file, or where it usually is.
func readIdentity(file string) (*secrets.Identity, error) {
	if file != "" {
		return secrets.Read(file)
	}
	own, err := ownIdentity()
	if err != nil {
		return nil, err
	}
	id, err := secrets.Read(own)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if home, err := os.UserHomeDir(); err == nil {
		if id, err := secrets.Read(filepath.Join(home, ".ssh", "id_ed25519")); !errors.Is(err, fs.ErrNotExist) {
			return id, err
		}
	}
	return nil, fmt.Errorf("there is no %s: name your private key with --identity FILE, or make one with `collie secret keygen`", own)
}

// recipientsFor are the recipients of a file: those of the list in its folder, or, for a host's file, those of the common list.
func recipientsFor(file string) (secrets.Recipients, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return secrets.Recipients{}, err
	}
	dir := filepath.Dir(file)
	if layers.OfServices(file) {
		dir = filepath.Dir(dir)
	}
	beside := filepath.Join(dir, "recipients")
	list := beside
	text, err := os.ReadFile(list)
	if hosts := filepath.Dir(filepath.Dir(dir)); errors.Is(err, fs.ErrNotExist) && filepath.Base(hosts) == "hosts" {
		list = filepath.Join(filepath.Dir(hosts), "secrets", "recipients")
		text, err = os.ReadFile(list)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return secrets.Recipients{}, fmt.Errorf("there is no %s: write the public keys of the machine (`collie key`) and your own (`collie secret keygen`) there, a line each", beside)
	}
	if err != nil {
		return secrets.Recipients{}, err
	}
	return secrets.ParseRecipients(list, text)
}

// seal writes Secrets into a file, encrypted. What is wrong with the text is wrong with the file that it is from.
func seal(file, from string, text []byte) error {
	if err := layers.CheckSecret(file, from, text); err != nil {
		return err
	}
	r, err := recipientsFor(file)
	if err != nil {
		return err
	}
	encrypted, err := secrets.Encrypt(text, r)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return replaceFiles(map[string][]byte{file: encrypted})
}

// unseal is what an encrypted file holds.
func unseal(file string, id *secrets.Identity) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	encrypted, err := io.ReadAll(io.LimitReader(f, secrets.MostEncrypted+1))
	if err != nil {
		return nil, err
	}
	text, err := id.Decrypt(encrypted)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return text, nil
}

// sealedFiles are all encrypted files of the repository in dir.
func sealedFiles(dir string) (all []string, err error) {
	for _, pattern := range []string{"secrets/*.age", "secrets/*/*.age", "hosts/*/secrets/*.age", "hosts/*/secrets/*/*.age"} {
		found, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			all = append(all, filepath.Join(dir, name))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no secrets/*.age: is it the top folder of a repository?", dir)
	}
	return all, nil
}

func (c *cli) rekey(files []string, id *secrets.Identity) error {
	again := map[string][]byte{}
	var mistakes []error
	for _, file := range files {
		text, err := unseal(file, id)
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		r, err := recipientsFor(file)
		if err != nil {
			return err
		}
		if id.Public != "" && !r.Has(id.Public) {
			fmt.Fprintf(c.err, "note: %s: your own key isn't among those it is for now\n", file)
		}
		if again[file], err = secrets.Encrypt(text, r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	if err := replaceFiles(again); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "%d files encrypted again\n", len(files))
	return err
}

// replaceFiles writes all, or none of them.
func replaceFiles(all map[string][]byte) (err error) {
	made := map[string]string{}
	defer func() {
		for _, tmp := range made {
			os.Remove(tmp)
		}
	}()
	for file, text := range all {
		tmp, err := os.CreateTemp(filepath.Dir(file), ".collie-*")
		if err != nil {
			return err
		}
		made[file] = tmp.Name()
		_, err = tmp.Write(text)
		if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
			return err
		}
	}
	for file, tmp := range made {
		if err := os.Rename(tmp, file); err != nil {
			return err
		}
	}
	return nil
}
