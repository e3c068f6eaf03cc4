package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/layertest"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/statefile"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "as-user" { // the helper of a home
		if err := layers.AsUser(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Each layer of a machine keeps the contract, between what is live there and what is prepared. The lab runs it in a guest whose
// agent is stopped: over the real Guix, Shepherd and Podman.
func TestMachineKeepsTheContract(t *testing.T) {
	file := os.Getenv("COLLIE_TEST_MACHINE")
	if file == "" {
		t.Skip("it switches the layers of a whole machine: the lab's script contract.txt has one")
	}
	cfg, err := ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, "/run/collie", "test", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.lock.Close()
	state, err := rollout.Folder(cfg.State).Load()
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := layers.Repository{}.Open(t.Context(), rollout.Baseline, state.Host)
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, p := range a.conductor.Parts {
		target := func(id string) rollout.Target {
			t.Helper()
			read, err := statefile.Read[rollout.Target](filepath.Join(cfg.State, "targets", id+".json"))
			if err != nil {
				t.Fatal(err)
			}
			return read
		}
		live, prepared := state.Current.Targets[p.Name], state.Prepared.Targets[p.Name]
		if live == "" || prepared == "" || live == prepared {
			continue // the commits differ in nothing of it
		}
		held = append(held, p.Name)
		t.Run(p.Name, func(t *testing.T) {
			layertest.Test(t, p.Layer, nothing, target(live), target(prepared), "service "+layers.OwnService) // which is stopped
		})
	}
	if want := []string{"system", "home:podman", "pods"}; !slices.Equal(held, want) {
		t.Errorf("held to the contract: %q, want %q", held, want)
	}
}
