package podman

import (
	"encoding/base64"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// project makes of a projected volume what an ordinary one of its mode has, and a document with the files of all its
// sources: a Secret as soon as one of them is, else a ConfigMap. Of two files with one name the later one counts.
func project(projected map[string]any, pod *manifests.Pod) (volume, doc map[string]any) {
	text, binary, secret := map[string]any{}, map[string]any{}, false // the latter in Base64
	for source := range tree.Objects(projected, "sources") {
		from, object := tree.Child(source, "configMap"), (*manifests.Object)(nil)
		if ref, ok := source["secret"].(map[string]any); ok {
			from, object, secret = ref, find(pod.Secrets, tree.Str(ref, "name")), true
		} else {
			object = find(pod.ConfigMaps, tree.Str(from, "name"))
		}
		if object == nil {
			continue // an optional one that isn't there
		}
		content := object.Doc.Reveal()
		for _, file := range filesOf(from, content) {
			value, ok := tree.Section(content, "data")[file.key]
			into, other := text, binary
			if object.Kind == "Secret" || !ok {
				into, other = binary, text
			}
			if !ok {
				value, ok = tree.Section(content, "binaryData")[file.key]
			}
			if ok { // else an optional source lacks the key
				into[file.path] = value
				delete(other, file.path)
			}
		}
	}
	volume, doc = map[string]any{}, map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": text, "binaryData": binary}
	if mode, ok := projected["defaultMode"]; ok {
		volume["defaultMode"] = mode
	}
	if secret {
		for path, value := range text {
			plain, _ := value.(string)
			binary[path] = base64.StdEncoding.EncodeToString([]byte(plain))
		}
		doc = map[string]any{"apiVersion": "v1", "kind": "Secret", "data": binary}
	}
	return volume, doc
}

// A file is what a volume makes of a key.
type file struct{ key, path string }

// filesOf are the files that a source gives: those it names, or all.
func filesOf(source, content map[string]any) (all []file) {
	for item := range tree.Objects(source, "items") {
		all = append(all, file{tree.Str(item, "key"), tree.Str(item, "path")})
	}
	if len(all) > 0 {
		return all
	}
	for _, part := range []string{"data", "binaryData"} {
		for key := range tree.Section(content, part) {
			all = append(all, file{key, key})
		}
	}
	return all
}
