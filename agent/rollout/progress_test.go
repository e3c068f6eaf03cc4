package rollout

import (
	"testing"

	"example.org/collie/agent/api"
)

func TestProgressOfLayersBesideEachOther(t *testing.T) {
	var p progress
	is := func(when string, want Progress) {
		t.Helper()
		if got := p.sum(); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	is("at first", Progress{Item: "starting"})
	p.tell(Progress{Layer: "system", Item: "building etc", Builds: api.Count{Done: 1, Total: 4}})
	p.tell(Progress{Layer: "home:ann", Item: "evaluating"})
	is("home told last", Progress{Layer: "home:ann", Item: "evaluating", Builds: api.Count{Done: 1, Total: 4}})
	p.tell(Progress{Layer: "home:ann", Item: "building files", Builds: api.Count{Done: 2, Total: 3}, Downloads: api.Count{Total: 1}, Bytes: api.Count{Total: 5e6}})
	p.tell(Progress{Layer: "system", Item: "building boot", Builds: api.Count{Done: 2, Total: 4}, Bytes: api.Count{Done: 1e6, Total: 2e6}})
	all := Progress{Layer: "system", Item: "building boot", Builds: api.Count{Done: 4, Total: 7}, Downloads: api.Count{Total: 1}, Bytes: api.Count{Done: 1e6, Total: 7e6}}
	is("both count", all)
	p.end("system")
	all.Layer, all.Item = "home:ann", "building files"
	is("what is done is told no more, but counts", all)
	p.end("home:ann")
	all.Layer, all.Item = "", "starting"
	is("all done", all)
}
