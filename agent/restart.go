package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/layers"
	"example.org/collie/guix"
	"example.org/collie/shepherd"
)

// restart restarts one service on a person's word, USER/SERVICE for one of a home.
func (a *Agent) restart(ctx context.Context, name string) (api.Restarted, error) {
	layer, service := a.cfg.layerOf(name)
	done, err := a.conductor.Restart(ctx, layer, service)
	if err != nil {
		return api.Restarted{}, fmt.Errorf("service %s: %w", name, err)
	}
	done.Service = a.cfg.fullName(layer, done.Service)
	for i := range done.With {
		done.With[i] = a.cfg.fullName(layer, done.With[i])
	}
	return done, nil
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
		case service == layers.OwnService && layer == "system":
			wrong("services."+name, "Collie replaces itself at a quiet point: leave it out")
		}
	}
	if t := time.Duration(cfg.ServiceTimeout); t < time.Second || t > 30*time.Minute {
		wrong("serviceTimeout", "between 1s and 30m")
	}
}
