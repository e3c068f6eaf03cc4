package podman

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"gopkg.in/yaml.v3"
)

// Import writes for a repository what Podman knows of a pod, or of a single container, that somebody made by hand. A pod
// says of itself that it is to be adopted. A single container can't be: its YAML begins with what to do.
func (p *Podman) Import(ctx context.Context, name string) (string, error) {
	var kube bytes.Buffer
	_, err := p.ask(ctx, request{method: http.MethodGet, endpoint: "/generate/kube", query: url.Values{"names": {name}}}, &kube)
	if err != nil {
		return "", fmt.Errorf("having Podman describe %s: %w", name, err)
	}
	pod, err := p.inspectPod(ctx, name)
	if err != nil {
		return "", err
	}
	if pod != nil && pod.Labels[labelOwner] == owner {
		return "", fmt.Errorf("pod %s is Collie's, so it is in the repository already", name)
	}
	return imported(kube.Bytes(), name, pod != nil)
}

// ByHand are the names of what runs and isn't Collie's: pods, and containers that are in none.
func (p *Podman) ByHand(ctx context.Context) (pods, containers []string, err error) {
	all, err := p.listContainers(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		switch {
		case c.State != "running" || c.IsInfra || c.Labels[labelOwner] == owner:
		case c.PodName != "":
			pods = append(pods, c.PodName)
		case len(c.Names) > 0:
			containers = append(containers, c.Names[0])
		}
	}
	slices.Sort(pods)
	slices.Sort(containers)
	return slices.Compact(pods), containers, nil
}

// imported makes of Podman's YAML what a person would have written.
func imported(kube []byte, name string, isPod bool) (string, error) {
	var file yaml.Node
	if err := yaml.Unmarshal(kube, &file); err != nil || len(file.Content) != 1 {
		return "", fmt.Errorf("understanding what Podman says of %s: %w", name, err)
	}
	pod := file.Content[0]
	meta, spec := valueOf(pod, "metadata"), valueOf(pod, "spec")
	if meta == nil || spec == nil || kindOf(pod) != "Pod" {
		return "", fmt.Errorf("what Podman says of %s isn't a pod", name)
	}
	uncomment(pod)
	drop(pod, "status")
	drop(meta, "creationTimestamp") // what Podman adds, and nothing reads
	drop(meta, "annotations")
	drop(meta, "labels")
	set(meta, "name", name)
	if isPod {
		annotations := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		set(annotations, "collie.io/adopt", "true")
		meta.Content = append(meta.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "annotations"}, annotations)
	} else {
		pod.HeadComment = fmt.Sprintf("# Collie adopts pods, not single containers: before you push this, `podman rm -f %s`.", name)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	docs := []*yaml.Node{pod}
	for _, claim := range claimsOf(spec) {
		docs = append(docs, claimNode(claim))
	}
	for _, doc := range docs {
		if err := encoder.Encode(doc); err != nil {
			return "", fmt.Errorf("writing the YAML of %s: %w", name, err)
		}
	}
	return out.String(), encoder.Close()
}

// claimsOf are the volumes of Podman that a pod uses: each keeps its name, and what is in it.
func claimsOf(spec *yaml.Node) (all []string) {
	volumes := valueOf(spec, "volumes")
	if volumes == nil {
		return nil
	}
	for _, volume := range volumes.Content {
		if claim := valueOf(valueOf(volume, "persistentVolumeClaim"), "claimName"); claim != nil && !slices.Contains(all, claim.Value) {
			all = append(all, claim.Value)
		}
	}
	return all
}

func claimNode(name string) *yaml.Node {
	var doc yaml.Node
	text := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: x\nspec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests: {storage: 1Gi}\n"
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		panic(err)
	}
	set(valueOf(doc.Content[0], "metadata"), "name", name)
	return doc.Content[0]
}

// valueOf is the value of a key in a mapping; nil if there is none.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func kindOf(doc *yaml.Node) string {
	if kind := valueOf(doc, "kind"); kind != nil {
		return kind.Value
	}
	return ""
}

// set gives a key of a mapping a text for its value, and adds it if need be.
func set(mapping *yaml.Node, key, text string) {
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if old := valueOf(mapping, key); old != nil {
		*old = *value
		return
	}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}

// uncomment drops all comments, wherever the parser hung them.
func uncomment(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, child := range n.Content { // an alias isn't followed
		uncomment(child)
	}
}

func drop(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return
		}
	}
}
