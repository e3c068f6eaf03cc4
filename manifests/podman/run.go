package podman

import (
	"context"
	"sync"
)

// Run does what pods need between two looks, until ctx ends. It is meant to run as long as the agent does, in parallel to all
// other calls.
func (p *Podman) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, task := range []func(context.Context){p.watch, p.tendJobs, p.tendBrake, p.prober.agenda.run, p.tendForwarder} {
		tasks.Go(func() { task(ctx) })
	}
}

// tendForwarder sends the forwarder its table again whenever it was restarted.
func (p *Podman) tendForwarder(ctx context.Context) {
	p.ports.Watch(ctx, func() {
		p.Log.Warn("the forwarder of ports was restarted: connections through it were cut")
		p.woken()
	})
}

// Woken signals that something happened to the pods, and that a look at them is due.
func (p *Podman) Woken() <-chan struct{} { return p.wake }
