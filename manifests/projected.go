package manifests

import "encoding/base64"

// project makes of a projected volume what an ordinary one of its mode has, and a document with the files of all its
// sources: a Secret as soon as one of them is, else a ConfigMap. Of two files with one name the later one counts.
func project(projected map[string]any, pod *Pod) (volume, doc map[string]any) {
	text, binary, secret := map[string]any{}, map[string]any{}, false // the latter in Base64
	for source := range objects(projected, "sources") {
		from, object := child(source, "configMap"), (*Object)(nil)
		if ref, ok := source["secret"].(map[string]any); ok {
			from, object, secret = ref, find(pod.Secrets, str(ref, "name")), true
		} else {
			object = find(pod.ConfigMaps, str(from, "name"))
		}
		if object == nil {
			continue // an optional one that isn't there
		}
		content := object.Doc.Reveal()
		for _, file := range filesOf(from, content) {
			value, ok := section(content, "data")[file.key]
			into, other := text, binary
			if object.Kind == "Secret" || !ok {
				into, other = binary, text
			}
			if !ok {
				value, ok = section(content, "binaryData")[file.key]
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
	for item := range objects(source, "items") {
		all = append(all, file{str(item, "key"), str(item, "path")})
	}
	if len(all) > 0 {
		return all
	}
	for _, part := range []string{"data", "binaryData"} {
		for key := range section(content, part) {
			all = append(all, file{key, key})
		}
	}
	return all
}
