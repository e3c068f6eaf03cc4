package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

//go:embed template
var template embed.FS

// configurationFile is the text of the running system's configuration, where Guix kept it.
const configurationFile = "/run/current-system/configuration.scm"

func initCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "init DIR",
		Short: "Make the files of a repository to start from",
		Long: "Make the files of a repository to start from, in a new or empty folder. On a Guix machine system.scm is the\n" +
			"configuration that the running system was made from, so that the first push changes nothing.",
		Example: "  collie init ops && cd ops && git init -b main && git add . && git commit -m 'as it is'",
		Args:    usage(cobra.ExactArgs(1)),
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
				fmt.Fprintln(c.err, "system.scm is an example: make it this machine's before you push")
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
