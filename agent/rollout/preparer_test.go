package rollout

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/source"
)

// A mistaken layer finds mistakes, when it prepares and when it is asked for them.
type mistaken struct {
	Layer
	prepares error
	finds    mistake.List
}

func (m mistaken) Prepare(context.Context, Revision, func(Progress)) (Target, error) {
	return Target{}, m.prepares
}

func (m mistaken) Check(context.Context, Revision) error { return m.finds.Err() }

// A mistake that one finds hides none of those that others would find, whoever is first.
func TestMistakesOfAllPhasesAreReported(t *testing.T) {
	of := func(file string) mistake.List { return mistake.List{{File: file, Line: 1, Says: "is wrong"}} }
	bad := func(l mistake.List) error { return &BadError{Err: l} }
	for name, row := range map[string]struct {
		files  mistake.List
		layers []mistaken
		want   string
	}{
		"of one layer": {layers: []mistaken{{prepares: bad(of("b")), finds: of("b")}, {prepares: ErrAbsent}}, want: "b:1: is wrong"},
		"of two, of which the first ends the other": {layers: []mistaken{{prepares: bad(of("b")), finds: of("b")}, {prepares: bad(of("a")), finds: of("a")}},
			want: "a:1: is wrong\nb:1: is wrong"},
		"of files, and of layers that aren't prepared": {files: of("c"), layers: []mistaken{{finds: of("b")}, {finds: append(of("a"), of("c")...)}},
			want: "a:1: is wrong\nb:1: is wrong\nc:1: is wrong"},
		"no mistake in files": {layers: []mistaken{{prepares: &BadError{Err: errors.New("guix refuses it")}, finds: of("a")}}, want: "guix refuses it"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				p := &preparer{open: func(context.Context, string, string) (Files, error) {
					return filesWith{fakeFiles{fstest.MapFS{}}, row.files}, nil
				}}
				for i, l := range row.layers {
					p.parts = append(p.parts, Part{Name: fmt.Sprint(i), Layer: l})
				}
				err := p.prepare(t.Context(), job{Revision: source.Revision{ID: "abc"}}).err
				if bad := new(BadError); !errors.As(err, &bad) || err.Error() != row.want {
					t.Fatalf("got  %v\nwant %s, as the commit's fault", err, row.want)
				}
			}
		})
	}
}

// filesWith are files with mistakes.
type filesWith struct {
	fakeFiles
	wrong mistake.List
}

func (f filesWith) Check() ([]string, error) { return nil, f.wrong.Err() }

func TestFilesThatCannotBeRead(t *testing.T) {
	tree := unreadable(source.Revision{ID: "abc"}, fmt.Errorf("reading: %w", &source.TreeError{Path: "x", Says: "is a symbolic link"}))
	if bad := new(BadError); !errors.As(tree, &bad) {
		t.Errorf("%v doesn't blame the commit", tree)
	}
	damaged := unreadable(source.Revision{ID: "abc"}, errors.New("the clone is damaged"))
	if bad := new(BadError); errors.As(damaged, &bad) || damaged.Error() != "revision abc: the clone is damaged" {
		t.Errorf("%v blames the commit", damaged)
	}
}
