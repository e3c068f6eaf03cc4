package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
)

// Deliver brings the secrets of services to where they belong after a boot, by what the state in the configuration file
// says: services that need one wait for this, and not for the agent.
func Deliver(ctx context.Context, file string) error {
	cfg, err := ReadConfig(file)
	if err != nil {
		return err
	}
	t, err := rollout.Folder(cfg.State).Deployed("secrets")
	if err != nil || t.ID == "" {
		return err
	}
	return layers.Secrets(filepath.Join(cfg.State, layers.KeysDir)).Switch(ctx, t)
}

// MachineKey is the public key of the machine that the configuration in file is for. It is made if there is none yet.
func MachineKey(file string) (string, error) {
	cfg, err := ReadConfig(file)
	if err != nil {
		return "", err
	}
	identity, err := secrets.Open(filepath.Join(cfg.State, layers.KeysDir))
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%w; only root can", err)
	}
	if err != nil {
		return "", err
	}
	return identity.Public, nil
}
