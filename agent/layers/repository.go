package layers

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
	"example.org/collie/guix"
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

// readRepositoryConfig reads it as this host sees it; a repository without it says nothing. With mistakes, it is what could be read.
func readRepositoryConfig(files view) (cfg repositoryConfig, err error) {
	if !files.has(RepositoryFile) {
		return cfg, nil
	}
	text, err := files.read(RepositoryFile)
	if err != nil {
		return cfg, err
	}
	doc := mistake.Decode(files.at(RepositoryFile), text, &cfg)
	files.checkRights(cfg, doc)
	return cfg, doc.Mistakes().Err()
}

// unsupported are the mistakes of what is encrypted in a repository, and of its collie.yaml.
func unsupported(files view) mistake.List {
	_, err := readRepositoryConfig(files)
	return append(checkSealed(files), mistakesOf(err, RepositoryFile)...)
}

// channels are the mistakes in channels.scm.
func channels(files view) mistake.List {
	text, err := files.read("channels.scm")
	if err != nil {
		return nil // there is none, or Guix says why
	}
	return mistakesOf(inRepository(guix.CheckChannels(string(text)), files.names()), "channels.scm")
}

// mistakesOf are those in an error. One of another kind is a mistake of the file that couldn't be read.
func mistakesOf(err error, file string) mistake.List {
	wrong := mistake.Of(err)
	if err != nil && wrong == nil {
		wrong = mistake.List{{File: file, Says: err.Error()}}
	}
	return wrong
}
