package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Config is the guest's configuration, /etc/collie.yaml. The Guix record has the same words.
type Config struct {
	Source struct {
		URL      string   `yaml:"url"`
		Branch   string   `yaml:"branch"`   // default: main
		Interval Duration `yaml:"interval"` // between two polls; default 30s, at least 1s
		Owner    string   `yaml:"owner"`    // of a repository on this machine: root and it alone may write it
	} `yaml:"source"`
	Host   string   `yaml:"host"`   // this machine's name in the repository; default: the host name when Collie first ran
	System bool     `yaml:"system"` // follow system.scm; default true
	Homes  []string `yaml:"homes"`  // users whose home is followed
	User   string   `yaml:"user"`   // runs the pods; empty: no pods
	Soak   Duration `yaml:"soak"`   // for which all must be well before a revision is good; default 30s
	State  string   `yaml:"state"`  // folder of clone, state, journal, logs; default /var/lib/collie
}

// Duration is written like 30s or 5m.
type Duration time.Duration

// UnmarshalYAML reads 30s, 5m, 1h30m.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	v, err := time.ParseDuration(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is no duration: write 30s, 5m or 1h", node.Line, node.Value)
	}
	*d = Duration(v)
	return nil
}

const configLimit = 1 << 20 // bytes

// ReadConfig reads the configuration in file. An unknown key or a wrong value is an error with its line.
func ReadConfig(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	if len(text) > configLimit {
		return Config{}, fmt.Errorf("%s: larger than %d bytes", file, configLimit)
	}
	return parseConfig(file, text)
}

func parseConfig(file string, text []byte) (Config, error) {
	cfg := Config{System: true, Soak: Duration(30 * time.Second), State: "/var/lib/collie"}
	cfg.Source.Branch = "main"
	cfg.Source.Interval = Duration(30 * time.Second)
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, configError(file, err)
	}
	return cfg, cfg.check(file)
}

func (cfg Config) check(file string) error {
	switch {
	case cfg.Source.URL == "":
		return fmt.Errorf("%s: source.url is missing: name the repository to follow, as file:///srv/git/ops.git", file)
	case time.Duration(cfg.Source.Interval) < time.Second:
		return fmt.Errorf("%s: source.interval: at least 1s", file)
	case cfg.Soak < 0:
		return fmt.Errorf("%s: soak: no negative duration", file)
	case !strings.HasPrefix(cfg.State, "/"):
		return fmt.Errorf("%s: state: %q is no absolute path", file, cfg.State)
	case !cfg.System && len(cfg.Homes) == 0 && cfg.User == "":
		return fmt.Errorf("%s: nothing to keep: set system, homes or user", file)
	}
	for _, name := range append([]string{cfg.User, cfg.Host, cfg.Source.Owner}, cfg.Homes...) {
		if name != "" && !plainName.MatchString(name) {
			return fmt.Errorf("%s: %q is no name of a user or host", file, name)
		}
	}
	return nil
}

var (
	plainName    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,62}$`)
	unknownField = regexp.MustCompile(`line (\d+): field (\S+) not found in type .*`)
	wrongValue   = regexp.MustCompile("line (\\d+): cannot unmarshal !!\\w+ `?(.*?)`? ?into .*")
	atLine       = regexp.MustCompile(`(?:yaml: )?line (\d+): (.*)`)
)

// configError says in the user's words what yaml.v3 says in Go's.
func configError(file string, err error) error {
	text := err.Error()
	if wrong := new(yaml.TypeError); errors.As(err, &wrong) && len(wrong.Errors) > 0 {
		text = wrong.Errors[0]
	}
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: unknown key %q", file, m[1], m[2])
	}
	if m := wrongValue.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: %q isn't the kind of value this key takes", file, m[1], strings.Trim(m[2], "` "))
	}
	if m := atLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: %s", file, m[1], m[2])
	}
	return fmt.Errorf("%s: %w", file, err)
}
