// Package tree reads documents of JSON, as maps.
package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Objects walks the objects in the named lists of m.
func Objects(m map[string]any, keys ...string) func(func(map[string]any) bool) {
	return func(yield func(map[string]any) bool) {
		for _, key := range keys {
			list, _ := m[key].([]any)
			for _, item := range list {
				if object, ok := item.(map[string]any); ok && !yield(object) {
					return
				}
			}
		}
	}
}

// Child returns the object at key, which it makes if there is none.
func Child(m map[string]any, key string) map[string]any {
	c, ok := m[key].(map[string]any)
	if !ok {
		c = map[string]any{}
		m[key] = c
	}
	return c
}

// Str is the text at a key; empty if there is none.
func Str(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// Sum hashes JSON, whose keys are sorted.
func Sum(v any) string {
	data, err := json.Marshal(v)
	if err != nil { // maps, lists and scalars: nothing that JSON doesn't know
		panic(fmt.Sprintf("hashing a manifest: %v", err))
	}
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// Section is the map below a key; nil, which can be read, if there is none.
func Section(m map[string]any, key string) map[string]any {
	below, _ := m[key].(map[string]any)
	return below
}
