package layers

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
)

// repositoryFile is where a repository says what concerns Collie itself. It can ask for more care than the machine's
// configuration, never for less.
const RepositoryFile = "collie.yaml"

// A repositoryConfig is what it says.
type repositoryConfig struct {
	Leave bool     `yaml:"leave"` // the commit may take Collie's own service off the machine
	Prune []string `yaml:"prune"` // claims, and pods if all go, that may go with the commit, as KIND/NAME

	Secrets map[string]secretRights `yaml:"secrets"` // of services, by name: whose they are
}

// secretRights say who may read a secret of services.
type secretRights struct {
	Owner string   `yaml:"owner"` // default: root
	Group string   `yaml:"group"` // default: the owner's
	Mode  fileMode `yaml:"mode"`  // default: 0400; at most 0660
}

// A fileMode is written in octal, with or without quotes.
type fileMode fs.FileMode

// UnmarshalYAML reads 0400, 0o400 or "0400".
func (m *fileMode) UnmarshalYAML(node *yaml.Node) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(node.Value, "0o"), 8, 12)
	if err != nil || v == 0 || v&^0o660 != 0 {
		return fmt.Errorf("%q is no mode of a secret: write 0400, 0440 or 0640; others than owner and group never may", node.Value)
	}
	*m = fileMode(v)
	return nil
}

// readRepositoryConfig reads it as this host sees it; a repository without it says nothing.
func readRepositoryConfig(files view) (repositoryConfig, error) {
	var cfg repositoryConfig
	if !files.has(RepositoryFile) {
		return cfg, nil
	}
	text, err := files.read(RepositoryFile)
	if err != nil {
		return cfg, err
	}
	return cfg, mistake.Decode(files.at(RepositoryFile), text, &cfg).Mistakes().Err()
}

// unsupported names the mistakes of what is encrypted in a repository, and of its collie.yaml.
func unsupported(files view) []error {
	var all []error
	all = append(all, checkSealed(files)...)
	if _, err := readRepositoryConfig(files); err != nil {
		all = append(all, err)
	}
	return all
}
