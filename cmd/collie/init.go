package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"example.org/collie/agent/layers"
)

//go:embed template
var template embed.FS

// configurationFile is the text of the running system's configuration, where Guix kept it.
const configurationFile = "/run/current-system/configuration.scm"

func initCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "init DIR",
		Short: "Make the files of a first repository",
		Long: "Make the files of a first repository, in a new or empty folder. On a Guix machine, system.scm is the configuration of the\n" +
			"running system, so the first push changes nothing. Elsewhere it is an example: the owners of the public keys in your ~/.ssh\n" +
			"may log in and push. If there is no key, the example has a placeholder, which `collie validate` and Guix refuse. For a\n" +
			"machine that runs already, use `collie bootstrap`.",
		Example: "  collie init ops && cd ops && git init -b main && git add . && git commit -m 'as it is'",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			there, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, f := range there {
				if f.Name() != ".git" { // a clone of an empty repository
					return fmt.Errorf("%s isn't empty: name a new folder", dir)
				}
			}
			files, err := fs.Sub(template, "template")
			if err != nil {
				return err
			}
			if err := os.CopyFS(dir, files); err != nil {
				return err
			}
			running, err := os.ReadFile(configurationFile)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				if err := c.personal(filepath.Join(dir, "system.scm")); err != nil {
					return err
				}
			case err != nil:
				return err
			default:
				if err := os.WriteFile(filepath.Join(dir, "system.scm"), running, 0o644); err != nil {
					return err
				}
			}
			fmt.Fprintf(c.out, "made %s: see its README.md\n", dir)
			return nil
		},
	}
}

// placeholderKey is the key that the example has in place of one's own.
var placeholderKey = regexp.MustCompile(`"[^"\n]*` + layers.Placeholder + `[^"\n]*"`)

// personal makes an example the operator's own, as far as that is known here.
func (c *cli) personal(system string) error {
	keys := publicKeys()
	if len(keys) == 0 {
		fmt.Fprintln(c.err, "system.scm is an example: adapt it to this machine, and write your public key into it, before you push")
		return nil
	}
	text, err := os.ReadFile(system)
	if err != nil {
		return err
	}
	for i, key := range keys {
		keys[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
	}
	text = placeholderKey.ReplaceAllLiteral(text, []byte(strings.Join(keys, "\n    ")))
	fmt.Fprintln(c.err, "system.scm is an example: adapt it to this machine before you push. The owners of the keys in your ~/.ssh may log in")
	return os.WriteFile(system, text, 0o644)
}

// publicKeys are those of who runs this.
func publicKeys() (all []string) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if key := strings.TrimSpace(string(text)); err == nil && !strings.ContainsRune(key, '\n') && len(strings.Fields(key)) >= 2 {
			all = append(all, key)
		}
	}
	return all
}
