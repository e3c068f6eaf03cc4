package rollout

// Abilities reports for each interface of abilities.go whether a layer has it.
var Abilities = map[string]func(Layer) bool{
	"planner": can[planner], "checker": can[checker], "sharing": can[sharing], "releasing": can[releasing], "hooked": can[hooked], "displacing": can[displacing],
	"reviving": can[reviving], "healer": can[healer], "repairer": can[repairer], "stopping": can[stopping], "switchable": can[switchable],
	"mover": can[mover], "busyLayer": can[busyLayer], "selfUpdater": can[selfUpdater], "stored": can[stored], "optional": can[optional], "lister": can[lister], "looker": can[looker], "describer": can[describer],
	"restarter": can[restarter],
}

func can[A any](l Layer) bool {
	_, is := l.(A)
	return is
}

// NewFake is the fake that stands in for a layer, and what makes targets of it.
func NewFake() (l Layer, target func(revision, value string) Target) {
	fake := &fakeLayer{name: "system", live: "old"}
	return fake, func(revision, value string) Target {
		t, err := Encode("system", "system-"+value, revision, value)
		if err != nil {
			panic(err)
		}
		return t
	}
}

// NoFiles are those of no revision.
var NoFiles Files = fakeFiles{}
