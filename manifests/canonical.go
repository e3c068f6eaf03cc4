package manifests

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"

	"example.org/collie/manifests/internal/tree"
)

// The canonical form of a document, and its hash.
//
//	changed                                           hash
//	comment, key order, quotes, anchors, file, line   unchanged
//	null, an empty list or map, a noted field         unchanged
//	any other field, even to what it would be anyway  changes
//	content of a ConfigMap or Secret that it uses     changes
//	labels of those, a claim, a probe                 unchanged
//	annotations under collie.io/                      unchanged, except for how its ports are forwarded

// newObject is a ConfigMap or Secret with its content's hash.
func newObject(d *document, key []byte) *Object {
	content := contentOf(d.kind, d.body)
	digest := tree.Sum(content)
	if d.kind == "Secret" {
		digest = secretSum(key, content)
	}
	return &Object{Kind: d.kind, Name: d.name, File: d.file, Line: d.line, Hash: digest[:8], sum: digest, Doc: redact(d.body)}
}

// contentOf is what pods see of a ConfigMap or Secret.
func contentOf(kind string, body map[string]any) map[string]any {
	return map[string]any{
		"kind": kind, "name": tree.Section(body, "metadata")["name"],
		"data": tree.Section(body, "data"), "binaryData": tree.Section(body, "binaryData"),
	}
}

func podHash(p *Pod) string {
	used := []string{}
	for _, o := range append(p.ConfigMaps[:len(p.ConfigMaps):len(p.ConfigMaps)], p.Secrets...) {
		used = append(used, o.sum)
	}
	all := map[string]any{"pod": p.Doc, "used": used}
	if p.Job != nil {
		all["kind"] = "Job" // one that was a Pod before is another, and runs
	}
	if o := p.Options; o.Handover != "" {
		all["handover"] = []string{o.Handover, o.ProxyProtocol} // its ports are published elsewhere
	}
	return tree.Sum(all)[:8]
}

// mergeStringData makes one map of a Secret's two: what is written as plain text wins.
func mergeStringData(body map[string]any) {
	plain := tree.Section(body, "stringData")
	if len(plain) == 0 {
		return
	}
	data := map[string]any{}
	maps.Copy(data, tree.Section(body, "data"))
	for key, v := range plain {
		s, _ := v.(string)
		data[key] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	body["data"] = data
	delete(body, "stringData")
}

// readOnlyClaims says at each mount what the volume says: Podman heeds only the mount.
func (p *podDocument) readOnlyClaims() {
	readOnly := map[string]bool{}
	for _, v := range p.spec.Volumes {
		readOnly[v.Name] = v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
	}
	for _, c := range p.containers() {
		mounts, _ := c["volumeMounts"].([]any)
		for _, m := range mounts {
			m, _ := m.(map[string]any)
			if name, _ := m["name"].(string); readOnly[name] {
				m["readOnly"] = true
			}
		}
	}
}

// ownName replaces fieldRef metadata.name by the name: Podman would say NAME-HASH, which is not what a user calls the pod.
func (p *podDocument) ownName() {
	for _, c := range p.containers() {
		env, _ := c["env"].([]any)
		for _, e := range env {
			e, _ := e.(map[string]any)
			if tree.Section(tree.Section(e, "valueFrom"), "fieldRef")["fieldPath"] == "metadata.name" {
				e["value"] = p.name
				delete(e, "valueFrom")
			}
		}
	}
}

// containers are the maps of all containers.
func (p *podDocument) containers() []map[string]any {
	var out []map[string]any
	for _, key := range []string{"initContainers", "containers"} {
		all, _ := p.raw[key].([]any)
		for _, c := range all {
			if c, ok := c.(map[string]any); ok {
				out = append(out, c)
			}
		}
	}
	return out
}

// recode reads checked values into a struct.
func recode(from map[string]any, to any) {
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil { // the table and the structs disagree
		panic(fmt.Sprintf("reading a checked manifest: %v", err))
	}
}
