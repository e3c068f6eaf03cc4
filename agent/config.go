package agent

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
)

// Images says of the images of pods where they come from, and how often that is asked.
type Images struct {
	Interval      rollout.Duration `yaml:"interval"`      // between two questions whether the tag of an image moved whose pull policy is Always; default 1h; 0s: never
	RequireDigest bool             `yaml:"requireDigest"` // refuse an image that isn't named with its digest
	AuthFile      string           `yaml:"authFile"`      // credentials for registries, as `podman login' writes them
}

func (i Images) mistakes(wrong func(key, format string, args ...any)) {
	if i.Interval != 0 && time.Duration(i.Interval) < time.Minute {
		wrong("images.interval", "at least 1m, or 0s for never")
	}
	if i.AuthFile != "" && !strings.HasPrefix(i.AuthFile, "/") {
		wrong("images.authFile", "%q is no absolute path", i.AuthFile)
	}
}

// Config is the guest's configuration, /etc/collie.yaml. The Guix record has the same words.
type Config struct {
	Source struct {
		source.Repository `yaml:",inline"`
		Branch            string              `yaml:"branch"`   // default: main
		Interval          rollout.Duration    `yaml:"interval"` // between two polls; default 30s, at least 1s
		Mirrors           []source.Repository `yaml:"mirrors"`  // asked in this order when the repository has nothing new
	} `yaml:"source"`
	Host           string                 `yaml:"host"`           // this machine's name in the repository; default: the host name when Collie first ran
	System         bool                   `yaml:"system"`         // follow system.scm; default true
	Homes          []string               `yaml:"homes"`          // users whose home is followed
	User           string                 `yaml:"user"`           // runs the pods; empty: no pods
	Downgrades     bool                   `yaml:"downgrades"`     // whether a commit may take channels back, other than to where they were in a good revision; default false
	MaxBuilds      int                    `yaml:"maxBuilds"`      // how much may be built here that isn't trivial; for more, substitutes are waited for; default 20
	Drift          string                 `yaml:"drift"`          // a system or home that someone else switched: report (the default) or heal
	Services       map[string]guix.Policy `yaml:"services"`       // what happens to one whose definition changed; USER/SERVICE for one of a home
	ServiceTimeout rollout.Duration       `yaml:"serviceTimeout"` // within which a service stops, or starts; default 2m
	OthersTimeout  rollout.Duration       `yaml:"othersTimeout"`  // for which a switch waits for a guix that someone else runs, before it is tried again later; default 20m
	Windows        []rollout.Window       `yaml:"windows"`        // when new revisions are switched to, in local time; default: always
	Reboots        bool                   `yaml:"reboots"`        // whether the machine is rebooted where a good system takes that
	Soak           rollout.Duration       `yaml:"soak"`           // for which all must be well before a revision is good; default 30s
	Images         Images                 `yaml:"images"`         // of pods: where they come from, and how often
	Keep           rollout.Retention      `yaml:"keep"`           // former good revisions, and free space in the store
	State          string                 `yaml:"state"`          // folder of clone, state, journal, logs; default /var/lib/collie

	alone bool // it is a user's, without root
}

// What happens to a system or home that someone else switched.
const (
	driftReport = "report" // it is left until the next commit
	driftHeal   = "heal"   // it is switched back at once
)

// ReadConfig reads the configuration in file. Its mistakes are a [mistake.List].
func ReadConfig(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mistake.MostText+1))
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return parseConfig(file, text)
}

const stateFolder = "/var/lib/collie"

func parseConfig(file string, text []byte) (Config, error) {
	cfg := Config{System: true, MaxBuilds: 20, Drift: driftReport, Keep: rollout.Retention{Revisions: 5}, Images: Images{Interval: rollout.Duration(time.Hour)}, Soak: rollout.Duration(30 * time.Second), ServiceTimeout: rollout.Duration(2 * time.Minute), OthersTimeout: rollout.Duration(guix.DefaultPatience), State: stateFolder}
	cfg.Source.Branch = "main"
	cfg.Source.Interval = rollout.Duration(30 * time.Second)
	doc := mistake.Decode(file, text, &cfg)
	cfg.check(doc)
	if wrong := doc.Mistakes(); len(wrong) > 0 {
		return Config{}, wrong
	}
	return cfg, nil
}

// check adds what values make no sense.
func (cfg Config) check(doc *mistake.Document) {
	wrong := func(key, format string, args ...any) { doc.Wrong(key, "", format, args...) }
	for i, r := range append([]source.Repository{cfg.Source.Repository}, cfg.Source.Mirrors...) {
		at := "source."
		if i > 0 {
			at = fmt.Sprintf("source.mirrors[%d].", i-1)
		}
		for _, m := range r.Mistakes() {
			wrong(at+m.Key, "%s", m.Says)
		}
		if r.Owner != "" && !layers.PlainName.MatchString(r.Owner) {
			wrong(at+"owner", "%q is no name", r.Owner)
		}
	}
	if time.Duration(cfg.Source.Interval) < time.Second {
		wrong("source.interval", "at least 1s")
	}
	if t := time.Duration(cfg.OthersTimeout); t < time.Second || t > 24*time.Hour {
		wrong("othersTimeout", "between 1s and 24h")
	}
	if cfg.MaxBuilds < 0 {
		wrong("maxBuilds", "no negative number: write 0 to build only what is trivial")
	}
	cfg.serviceMistakes(wrong)
	if cfg.Drift != driftReport && cfg.Drift != driftHeal {
		wrong("drift", "%q is neither %s nor %s", cfg.Drift, driftReport, driftHeal)
	}
	if cfg.Soak < 0 {
		wrong("soak", "no negative duration")
	}
	cfg.Keep.Check(func(key, says string) { wrong("keep."+key, "%s", says) })
	cfg.Images.mistakes(wrong)
	if !strings.HasPrefix(cfg.State, "/") {
		wrong("state", "%q is no absolute path", cfg.State)
	}
	if !cfg.System && len(cfg.Homes) == 0 && cfg.User == "" && !doc.Astray("homes", "user") {
		wrong("system", "nothing is followed: set system, homes or user")
	}
	for _, n := range []struct{ key, name string }{{"user", cfg.User}, {"host", cfg.Host}} {
		if n.name != "" && !layers.PlainName.MatchString(n.name) {
			wrong(n.key, "%q is no name", n.name)
		}
	}
	for i, name := range cfg.Homes {
		if !layers.PlainName.MatchString(name) {
			wrong(fmt.Sprintf("homes[%d]", i), "%q is no user's name", name)
		}
		if slices.Contains(cfg.Homes[:i], name) {
			wrong(fmt.Sprintf("homes[%d]", i), "%q is there twice", name)
		}
	}
}
