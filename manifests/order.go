package manifests

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.org/collie/agent/mistake"
)

// The order in which pods are switched: by wave, and within a wave by their dependencies. All of a revision's pods are made
// before the first is switched, and the next are switched when those before are ready. Pods that left stop last, the highest
// wave first.

const mostWave = 1000

var (
	ordered = []string{"Pod", "Deployment", "Job"}

	waveOption = option{key: "wave", kinds: ordered, is: "a whole number from -1000 to 1000, as text: \"1\"",
		set: func(o *Options, value string) bool {
			n, err := strconv.Atoi(value)
			o.Wave = n
			return err == nil && n >= -mostWave && n <= mostWave
		}}
	dependsOnOption = option{key: "depends-on", kinds: ordered, is: "the names of pods, with commas between them: db, cache",
		set: func(o *Options, value string) bool {
			o.DependsOn = nil
			for name := range strings.SplitSeq(value, ",") {
				if name = strings.TrimSpace(name); name == "" {
					return false
				}
				o.DependsOn = append(o.DependsOn, name)
			}
			slices.Sort(o.DependsOn)
			o.DependsOn = slices.Compact(o.DependsOn)
			return true
		}}
)

// order wants what pods depend on to be there, and to come before them.
func (b *binder) order() {
	byName := map[string]*podDocument{}
	for _, p := range b.pods {
		byName[p.name] = p
	}
	waits := map[string][]string{}
	for _, p := range b.pods {
		at := p.option("depends-on")
		for _, name := range p.opts.DependsOn {
			other := byName[name]
			switch {
			case other == nil && b.unsure("Pod"):
			case other == nil:
				_, hint := mistake.Guess(name, slices.Sorted(maps.Keys(byName)))
				b.wrong(at, hint, "there is no pod %q", shorten(name))
			case other == p:
				b.wrong(at, "leave it out", "%q can't depend on itself", name)
			case other.opts.Wave > p.opts.Wave:
				b.wrong(at, "give it a wave that isn't higher", "%q comes later, in wave %d (%s)", name, other.opts.Wave, other.at("metadata.name"))
			default:
				if p.name != "" {
					waits[p.name] = append(waits[p.name], name)
				}
			}
		}
	}
	for _, p := range b.pods {
		if circle := circleOf(waits, p.name); circle != nil && p.name == slices.Min(circle) {
			b.wrong(p.option("depends-on"), "leave one of them out", "pods wait for each other: %s", strings.Join(append(circle, circle[0]), " → "))
		}
	}
}

// circleOf is the way from a name back to itself, if there is one.
func circleOf(waits map[string][]string, name string) []string {
	seen := map[string]bool{}
	var way func(at string) []string
	way = func(at string) []string {
		for _, next := range waits[at] {
			if next == name {
				return []string{at}
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if rest := way(next); rest != nil {
				return append([]string{at}, rest...)
			}
		}
		return nil
	}
	return way(name)
}

// option is the place of an annotation of Collie's.
func (p *podDocument) option(key string) place {
	for _, under := range []string{"spec.template.metadata.annotations", "metadata.annotations"} {
		field := place{field: under}.key(OptionPrefix+key, 0).field
		if _, ok := p.lines.of(field); ok {
			return p.at(field)
		}
	}
	return p.at("metadata.annotations")
}
