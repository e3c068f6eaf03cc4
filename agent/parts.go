package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
	"example.org/collie/shepherd"
)

// Where Guix System and the service of Podman's API have what the layers speak to.
const (
	guixProfiles   = "/var/guix/profiles"
	guixRoots      = "/var/guix/gcroots/collie"
	shepherdSocket = "/var/run/shepherd/socket"
	forwardSocket  = "podman/forward.sock"
	inventoryFile  = "inventory.json" // of pods, in the state folder
	jobsFile       = "jobs.json"
)

// parts makes the layers that the configuration names, in the order of their switches.
func (a *Agent) parts() ([]rollout.Part, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("own binary: %w", err)
	}
	in := func(name string) string { return filepath.Join(a.cfg.State, name) }
	runner := &guix.Runner{Command: "guix", Logs: in("logs"), Patience: time.Duration(a.cfg.OthersTimeout)}
	a.runner = runner
	roots := guix.Roots(a.cfg.guixRoots())
	builder := layers.NewBuilder(runner, roots, a.cfg.MaxBuilds, a.cfg.State)
	a.builder = builder
	if !a.cfg.alone {
		builder.Build = &guix.Evaluator{Account: "collie-build", Home: in(buildDir + "/system")}
		builder.Plan = &guix.Evaluator{Account: "collie-plan", Home: in(buildDir + "/plan"), Channels: in(buildDir + "/channels"), Plans: true}
	}
	var parts []rollout.Part
	if a.cfg.System {
		parts = append(parts, rollout.Part{Name: "secrets", Layer: layers.Secrets(in(layers.KeysDir)), Heals: true})
		a.system = &guix.System{
			Runner: runner, Shepherd: shepherd.At(shepherdSocket), Profiles: guixProfiles, Roots: roots,
			Started: in("started.json"), Begun: in("system.begun"), Made: in("system.made.json"), Commits: in("system.commits.json"), Self: layers.OwnService, Idle: []string{layers.PodmanService, layers.ForwardService},
			Channels: in("channels.json"), Downgrades: a.cfg.Downgrades,
			Policies: a.cfg.policies("system"), Timeout: time.Duration(a.cfg.ServiceTimeout), Silence: rollout.Patience(time.Duration(a.cfg.Soak)),
		}
		a.own = a.system
		parts = append(parts, rollout.Part{Name: "system", Layer: layers.System(a.system, builder, a.cfg.User), Heals: a.cfg.Drift == driftHeal})
	}
	for _, user := range a.cfg.Homes {
		name := "home:" + user
		home := &guix.Home{
			Runner: runner, User: user, Helper: []string{binary, "as-user"}, Profiles: guixProfiles, Roots: roots,
			Started: in("started." + user + ".json"), Begun: in("home." + user + ".begun"), Made: in("home." + user + ".made.json"),
			Backups: in("home." + user + ".backups.json"), Vigil: guix.NewVigil(),
			Policies: a.cfg.policies(name), Timeout: time.Duration(a.cfg.ServiceTimeout), Silence: rollout.Patience(time.Duration(a.cfg.Soak)),
		}
		if a.cfg.alone {
			home.Self, home.Idle, a.own = layers.OwnService, []string{layers.ForwardService}, home
		}
		parts = append(parts, rollout.Part{Name: name, Layer: layers.Home(home, builder, user == a.cfg.User || len(a.cfg.Homes) == 1, in(treesDir)), Heals: a.cfg.Drift == driftHeal})
	}
	if a.cfg.User != "" {
		pods := podman.Connect(a.cfg.podmanSocket(a.runtime))
		if _, err := secrets.Open(in(layers.KeysDir)); err != nil { // whoever needs it says so again
			a.log.Error(err.Error())
		}
		a.mustRead("which pods and claims a commit may not remove", func() error { return pods.TakeInventory(in(inventoryFile)) })
		a.mustRead("which Jobs ran", func() error { return pods.Remember(in(jobsFile)) })
		pods.Rules = podman.Rules{RequireDigest: a.cfg.Images.RequireDigest, AuthFile: a.cfg.Images.AuthFile,
			Record: in("images.json"), Keep: a.cfg.Keep.Revisions}
		pods.Account = func() (podman.Account, error) {
			u, err := guix.Find(a.cfg.User)
			as := func(ctx context.Context, args ...string) error {
				return u.Do(ctx, []string{binary, "as-user"}, args...)
			}
			return podman.Account{UID: int(u.UID), Runtime: u.Runtime, As: as}, err
		}
		pods.Log = a.log
		a.pods = pods
		parts = append(parts, rollout.Part{Name: "pods", Layer: layers.Pods(pods, in(layers.KeysDir)), Heals: true})
	}
	return parts, nil
}
