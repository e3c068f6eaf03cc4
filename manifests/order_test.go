package manifests

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
)

func orderedPod(name, wave, dependsOn string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\n  annotations:\n    x: y\n"
	if wave != "" {
		text += "    collie.io/wave: \"" + wave + "\"\n"
	}
	if dependsOn != "" {
		text += "    collie.io/depends-on: " + dependsOn + "\n"
	}
	return text + "spec:\n  containers: [{name: c, image: i:1}]\n"
}

func TestMistakesInTheOrderOfPods(t *testing.T) {
	for _, c := range []struct {
		name string
		pods []string
		want string
	}{
		{"a wave that is none", []string{orderedPod("a", "soon", "")}, `a.yaml:7: metadata.annotations[collie.io/wave]: "soon" is not supported
    write a whole number from -1000 to 1000, as text: "1"
`},
		{"no such pod", []string{orderedPod("web", "", "dbb"), orderedPod("db", "", "")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: there is no pod "dbb"
    did you mean db?
`},
		{"itself", []string{orderedPod("web", "", "web")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: "web" can't depend on itself
    leave it out
`},
		{"one of a later wave", []string{orderedPod("web", "", "db"), orderedPod("db", "1", "")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: "db" comes later, in wave 1 (b.yaml:4)
    give it a wave that isn't higher
`},
		{"a circle, told once", []string{orderedPod("a", "", "b"), orderedPod("b", "", "c"), orderedPod("c", "", "a")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: pods wait for each other: a → b → c → a
    leave one of them out
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for i, text := range c.pods {
				tree[string(rune('a'+i))+".yaml"] = &fstest.MapFile{Data: []byte(text)}
			}
			_, err := Load(tree, ".")
			var mistakes mistake.List
			if !errors.As(err, &mistakes) || told(mistakes) != c.want {
				t.Errorf("got\n%swant\n%s", told(mistakes), c.want)
			}
		})
	}
}

func TestAWaveAndWhatAPodDependsOnAreRead(t *testing.T) {
	m, err := Load(files("a.yaml", orderedPod("web", "-1", "db, api,db"), "b.yaml", orderedPod("db", "-2", ""), "c.yaml", orderedPod("api", "-1", "")), ".")
	if err != nil {
		t.Fatal(err)
	}
	if o := m.Pods[2].Options; o.Wave != -1 || !slices.Equal(o.DependsOn, []string{"api", "db"}) {
		t.Errorf("got %+v", o)
	}
}
