package rollout

import (
	"maps"
	"slices"
)

// A progress is how far the layers of a preparation are, which are prepared in parallel.
type progress struct {
	layers map[string]Progress
	at     []string // those that aren't done; the last one told last
}

// sum is all of it, and what the layer is at that told last.
func (p progress) sum() Progress {
	sum := Progress{Item: "starting"} // or about to end
	if n := len(p.at); n > 0 {
		now := p.layers[p.at[n-1]]
		sum.Layer, sum.Item = now.Layer, now.Item
	}
	for layer := range maps.Values(p.layers) {
		sum.Builds = sum.Builds.Plus(layer.Builds)
		sum.Downloads = sum.Downloads.Plus(layer.Downloads)
		sum.Bytes = sum.Bytes.Plus(layer.Bytes)
	}
	return sum
}

func (p *progress) tell(now Progress) {
	if p.layers == nil {
		p.layers = map[string]Progress{}
	}
	p.layers[now.Layer] = now
	p.end(now.Layer)
	p.at = append(p.at, now.Layer)
}

func (p *progress) end(layer string) {
	p.at = slices.DeleteFunc(p.at, func(at string) bool { return at == layer })
}

func (p *preparer) tell(layer string) func(Progress) {
	return func(now Progress) {
		p.mu.Lock()
		defer p.mu.Unlock()
		now.Layer = layer
		p.progress.tell(now)
	}
}

// ended records that a layer is done.
func (p *preparer) ended(layer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress.end(layer)
}
