package layers

import (
	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

func (l systemLayer) SwitchedByOthers(t rollout.Target) (rollout.Drift, bool) {
	return moved(t, l.System.Moved)
}

func (l homeLayer) SwitchedByOthers(t rollout.Target) (rollout.Drift, bool) {
	return moved(t, l.Home.Moved)
}

func moved(t rollout.Target, by func(item string) (guix.Generation, bool)) (rollout.Drift, bool) {
	var item guixItem
	if t.Decode(&item) != nil {
		return rollout.Drift{}, false
	}
	now, yes := by(item.Item)
	return rollout.Drift{Drift: api.Drift{Generation: now.Number, Item: now.Item, Since: now.Since, Where: now.Where}, Live: guixID(t.Layer, now.Item)}, yes
}
