package manifests

import "gopkg.in/yaml.v3"

func isNull(n *yaml.Node) bool {
	n = follow(n)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// valueAt is what stands below keys that nobody has checked yet, or nil.
func valueAt(n *yaml.Node, keys ...string) *yaml.Node {
	n = follow(n)
	for _, key := range keys {
		if n.Kind != yaml.MappingNode {
			return nil
		}
		var below *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				below = follow(n.Content[i+1])
				break
			}
		}
		if below == nil {
			return nil
		}
		n = below
	}
	return n
}

func scalarAt(n *yaml.Node, keys ...string) string {
	if v := valueAt(n, keys...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

func textsAt(n *yaml.Node, keys ...string) map[string]string {
	out := map[string]string{}
	if m := valueAt(n, keys...); m != nil && m.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(m.Content); i += 2 {
			out[m.Content[i].Value] = follow(m.Content[i+1]).Value
		}
	}
	return out
}
