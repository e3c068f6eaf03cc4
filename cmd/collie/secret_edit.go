package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"example.org/collie/agent/layers"
)

func secretEditCmd(c *cli) *cobra.Command {
	var identity string
	cmd := &cobra.Command{
		Use:   "edit FILE",
		Short: "Edit an encrypted file, or a new one, in $EDITOR",
		Long: "Edit an encrypted file, or a new one, in $VISUAL or $EDITOR. The decrypted text is only in memory, in a folder of your own,\n" +
			"while the editor runs. Afterwards it is checked. If it has a mistake, the editor opens again, with the errors in the first\n" +
			"lines. To give up, leave the file unchanged. An unchanged file isn't encrypted again.",
		Example: "  collie secret edit secrets/db.yaml.age",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			was := []byte(newSecret)
			if layers.OfServices(args[0]) {
				was = nil
			}
			_, err := os.Stat(args[0])
			isNew := errors.Is(err, fs.ErrNotExist)
			if !isNew {
				id, err := readIdentity(identity)
				if err != nil {
					return err
				}
				if was, err = unseal(args[0], id); err != nil {
					return err
				}
			}
			if _, err := recipientsFor(args[0]); err != nil { // before someone types much
				return err
			}
			text, err := edit(cmd.Context(), args[0], was)
			switch {
			case err != nil:
				return err
			case bytes.Equal(text, was):
				_, err = fmt.Fprintln(c.out, "unchanged")
				return err
			}
			return seal(args[0], args[0], text)
		},
	}
	identityFlag(cmd, &identity)
	return cmd
}

const newSecret = `apiVersion: v1
kind: Secret
metadata:
  name: NAME
stringData:
  KEY: VALUE
`

// remark begins the lines that show the mistakes in the editor. They are removed afterwards.
const remark = "#! "

// edit lets a person change text until nothing is wrong with it.
func edit(ctx context.Context, file string, text []byte) ([]byte, error) {
	dir, err := inMemory()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // with other files of the editor
	// A terminal that is closed ends the editor, and what is decrypted has to go then, too.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	name := filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".age"))
	shown := text
	for {
		if err := os.WriteFile(name, shown, 0o600); err != nil {
			return nil, err
		}
		// Keys of the terminal are the editor's: it ends by itself.
		editor := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", `eval "${VISUAL:-${EDITOR:-vi}} \"\$1\""`, "sh", name)
		editor.Stdin, editor.Stdout, editor.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := editor.Run(); err != nil {
			return nil, fmt.Errorf("the editor: %w; nothing is changed", err)
		}
		edited, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		now := edited
		if bytes.HasPrefix(shown, []byte(remark)) {
			now = withoutRemarks(edited)
		}
		mistakes := layers.CheckSecret(file, file, now)
		switch {
		case bytes.Equal(now, text) && bytes.Equal(shown, text):
			return text, nil
		case mistakes == nil:
			return now, nil
		case bytes.Equal(edited, shown) || ctx.Err() != nil:
			return nil, fmt.Errorf("nothing is changed: %w", mistakes)
		}
		shown = append(remarks(mistakes), now...)
	}
}

func remarks(err error) (lines []byte) {
	for line := range strings.Lines(err.Error() + "\n") {
		lines = append(lines, remark+line...)
	}
	return lines
}

func withoutRemarks(text []byte) (kept []byte) {
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(remark)) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// inMemory makes a folder of one's own that isn't on a disk.
func inMemory() (string, error) {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		var s unix.Statfs_t
		if dir == "" || unix.Statfs(dir, &s) != nil || s.Type != unix.TMPFS_MAGIC {
			continue
		}
		return os.MkdirTemp(dir, "collie-secret-")
	}
	return "", errors.New("there is no folder in memory for what is decrypted: XDG_RUNTIME_DIR and /dev/shm are no tmpfs")
}
