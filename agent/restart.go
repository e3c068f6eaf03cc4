package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/guix"
	"example.org/collie/shepherd"
)

// restart restarts one service on a person's word, USER/SERVICE for one of a home. The layer's keeper does it, between
// its switches and looks.
func (a *Agent) restart(ctx context.Context, name string) (api.Restarted, error) {
	layer, service := a.cfg.layerOf(name)
	keeper := a.conductor.keepers[layer]
	if keeper == nil {
		return api.Restarted{}, fmt.Errorf("service %s: the %s isn't followed here", name, layer)
	}
	err := a.conductor.ask(ctx, func() error {
		return a.conductor.write(Entry{Event: evRestart, Layer: layer, Because: "asked to restart service " + service})
	})
	if err != nil {
		return api.Restarted{}, err
	}
	var done guix.Restarted
	var refused error
	err = keeper.ask(ctx, a.conductor.gone, func(ctx context.Context) {
		done, refused = keeper.Layer.(restarter).Restart(ctx, service)
	})
	if err != nil {
		return api.Restarted{}, fmt.Errorf("service %s: %w", name, err)
	}
	for i := range done.With {
		done.With[i] = a.cfg.fullName(layer, done.With[i])
	}
	if refused != nil {
		return api.Restarted{}, refused
	}
	a.log.Info("restarted, as somebody asked", "layer", layer, "service", done.Service, "with", done.With, "problems", done.Problems)
	told := api.Restarted{Service: a.cfg.fullName(layer, done.Service), With: done.With, Problems: guixProblems(done.Problems)}
	return told, nil
}

// ask has f run by the keeper, once that has time: only then has nobody else a hand on the layer.
func (k *keeper) ask(ctx context.Context, gone <-chan struct{}, f func(context.Context)) error {
	done := make(chan struct{})
	call := func(ctx context.Context) {
		defer close(done)
		f(ctx)
	}
	select {
	case k.asked <- call:
	case <-gone:
		return api.ErrStopping
	case <-ctx.Done():
		return fmt.Errorf("a switch or a look is underway and takes long: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it takes long, and goes on: see `collie status`: %w", ctx.Err())
	}
}

// layerOf splits the name of a service, as the configuration and people write it.
func (cfg Config) layerOf(name string) (layer, service string) {
	if user, rest, found := strings.Cut(name, "/"); found && slices.Contains(cfg.Homes, user) {
		return "home:" + user, rest
	}
	return "system", name
}

func (cfg Config) fullName(layer, service string) string {
	if user, home := strings.CutPrefix(layer, "home:"); home {
		return user + "/" + service
	}
	return service
}

// policies are those of a layer's services.
func (cfg Config) policies(layer string) map[string]guix.Policy {
	own := map[string]guix.Policy{}
	for name, p := range cfg.Services {
		if l, service := cfg.layerOf(name); l == layer {
			own[service] = p
		}
	}
	return own
}

// serviceMistakes are those of the keys services and serviceTimeout.
func (cfg Config) serviceMistakes(wrong func(key, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Services)) {
		layer, service := cfg.layerOf(name)
		p := cfg.Services[name]
		switch err := guix.CheckPolicy(service, p); {
		case !shepherd.IsName(service):
			wrong("services."+name, "%q is no service's name", service)
		case err != nil:
			wrong("services."+name, "%v", err)
		case service == ownService && layer == "system":
			wrong("services."+name, "Collie replaces itself at a quiet point: leave it out")
		}
	}
	if t := time.Duration(cfg.ServiceTimeout); t < time.Second || t > 30*time.Minute {
		wrong("serviceTimeout", "between 1s and 30m")
	}
}
