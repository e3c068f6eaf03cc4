package podman

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// remembers is all that a Podman remembers, but for what it may read again whenever it likes: the connection, and last words.
func (p *Podman) remembers() string {
	var text strings.Builder
	seen := map[uintptr]bool{}
	var write func(v reflect.Value, depth string)
	write = func(v reflect.Value, depth string) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if v.Kind() == reflect.Pointer && !v.IsNil() && seen[v.Pointer()] || v.IsNil() {
				text.WriteString("…\n")
				return
			}
			if v.Kind() == reflect.Pointer {
				seen[v.Pointer()] = true
			}
			write(v.Elem(), depth)
		case reflect.Struct:
			text.WriteString(v.Type().String() + "\n")
			if v.Type().PkgPath() == "sync" {
				return
			}
			for i := range v.NumField() {
				switch name := v.Type().Field(i).Name; name {
				case "conn", "ends", "Log", "lists", "wake":
				default:
					text.WriteString(depth + name + ": ")
					write(v.Field(i), depth+" ")
				}
			}
		case reflect.Map:
			lines := map[string]reflect.Value{}
			for _, key := range v.MapKeys() {
				lines[fmt.Sprint(key)] = v.MapIndex(key)
			}
			text.WriteString("map\n")
			for _, key := range slices.Sorted(maps.Keys(lines)) {
				text.WriteString(depth + key + ": ")
				write(lines[key], depth+" ")
			}
		case reflect.Slice, reflect.Array:
			fmt.Fprintf(&text, "%d\n", v.Len())
			for i := range v.Len() {
				text.WriteString(depth + "- ")
				write(v.Index(i), depth+" ")
			}
		case reflect.Func, reflect.Chan:
			text.WriteString("\n")
		default:
			fmt.Fprintf(&text, "%v\n", v)
		}
	}
	write(reflect.ValueOf(p).Elem(), " ")
	return text.String()
}

// Whoever asks changes nothing: not what Podman has, nor what the next look will find or do.
func TestAskingChangesNothing(t *testing.T) {
	w := newWorld(t)
	if w.fake == nil {
		t.Skip("what it remembers is the same over the real Podman")
	}
	r := w.deploy("a", newPod("web"))
	next := w.prepare("b", newPod("web", image(imageTwo, "")), newPod("api"))
	if _, _, err := w.Look(t.Context(), r, time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.fake.mu.Lock()
	for _, pod := range w.fake.pods { // what there is to learn: it ends again and again
		for _, c := range pod.containers[1:] {
			c.Restarts, c.StartedAt = 7, time.Now().Unix()
		}
	}
	w.fake.mu.Unlock()
	live, before := w.containers("web", "api"), w.remembers()
	for _, ask := range []struct {
		name string
		do   func() error
	}{
		{"Diff", func() error { _, err := w.Diff(t.Context(), next); return err }},
		{"Problems", func() error { _, err := w.Problems(t.Context(), r, time.Time{}); return err }},
		{"Plan", func() error { _, err := w.Plan(t.Context(), r, next); return err }},
		{"Vacant", func() error { return w.Vacant(t.Context(), next) }},
		{"List", func() error { _, err := w.List(t.Context(), r); return err }},
		{"Jobs", func() error { w.Jobs(r); return nil }},
		{"Live", func() error { _, err := w.Live(t.Context()); return err }},
	} {
		for range 2 {
			if err := ask.do(); err != nil {
				t.Errorf("%s: %v", ask.name, err)
			}
		}
		if after := w.remembers(); after != before {
			t.Errorf("%s changes what is remembered: %s", ask.name, firstDifference(before, after))
		}
		w.same(ask.name, w.containers("web", "api"), live)
	}
	if _, _, err := w.Look(t.Context(), r, time.Time{}); err != nil || w.remembers() == before {
		t.Errorf("a look learned nothing (%v): this test can't tell either", err)
	}
}

func firstDifference(a, b string) string {
	was, is := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			return fmt.Sprintf("line %d: %q was %q", i+1, is[i], was[i])
		}
	}
	return fmt.Sprintf("%d lines were %d", len(is), len(was))
}
