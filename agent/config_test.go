package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
)

func TestConfigDefaults(t *testing.T) {
	cfg, err := parseConfig("collie.yaml", []byte("source: {url: file:///srv/git/ops.git}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var want Config
	want.Source.URL, want.Source.Branch, want.Source.Interval = "file:///srv/git/ops.git", "main", rollout.Duration(30*time.Second)
	want.System, want.MaxBuilds, want.Drift, want.Soak, want.State = true, 20, "report", rollout.Duration(30*time.Second), "/var/lib/collie"
	want.ServiceTimeout, want.OthersTimeout, want.Keep.Revisions = rollout.Duration(2*time.Minute), rollout.Duration(20*time.Minute), 5
	want.Images.Interval = rollout.Duration(time.Hour)
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestConfigTakesEveryKey(t *testing.T) {
	cfg, err := parseConfig("collie.yaml", []byte(`# All that can be said.
source:
  url: http://127.0.0.1:8080/ops.git
  branch: prod
  interval: 1h30m
  mirrors:
    - {url: /srv/git/ops.git, owner: ops}
    - url: https://mirror.example.org/ops.git
      tokenFile: /keys/token
      tokenUser: bob
      caFile: /keys/ca.pem
    - url: git@mirror.example.org:ops.git
      keyFile: /keys/ssh
      knownHosts: /keys/known_hosts
host: web-1
system: false
homes:
  - podman
  - ann
user: podman
downgrades: false
maxBuilds: 3
services:
  nginx: defer
  my.service: never
  podman/bell: reboot
serviceTimeout: 45s
othersTimeout: 5m
drift: heal
windows: ["daily 03:00-05:00"]
reboots: true
soak: 0s
keep:
  revisions: 0
  age: 720h
  free: 5GiB
images:
  interval: 6h
  requireDigest: true
  authFile: /keys/registries.json
state: /tmp/state
`))
	if err != nil {
		t.Fatal(err)
	}
	var want Config
	want.Source.URL, want.Source.Branch = "http://127.0.0.1:8080/ops.git", "prod"
	want.Source.Mirrors = []source.Repository{
		{URL: "/srv/git/ops.git", Owner: "ops"},
		{URL: "https://mirror.example.org/ops.git", TokenFile: "/keys/token", TokenUser: "bob", CAFile: "/keys/ca.pem"},
		{URL: "git@mirror.example.org:ops.git", KeyFile: "/keys/ssh", KnownHosts: "/keys/known_hosts"},
	}
	want.Source.Interval, want.MaxBuilds = rollout.Duration(90*time.Minute), 3
	want.Host, want.Homes, want.User, want.Drift, want.State = "web-1", []string{"podman", "ann"}, "podman", "heal", "/tmp/state"
	want.Services = map[string]guix.Policy{"nginx": guix.Defer, "my.service": guix.Never, "podman/bell": guix.Reboot}
	want.ServiceTimeout, want.OthersTimeout = rollout.Duration(45*time.Second), rollout.Duration(5*time.Minute)
	want.Images = Images{Interval: rollout.Duration(6 * time.Hour), RequireDigest: true, AuthFile: "/keys/registries.json"}
	want.Windows = windows(t, "daily 03:00-05:00")
	want.Reboots = true
	want.Keep = rollout.Retention{Age: rollout.Duration(720 * time.Hour), Free: 5 << 30}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

// Each mistake is told by file, line and the user's words.
func TestConfigMistakes(t *testing.T) {
	const good = "source: {url: file:///srv/git/ops.git}\n"
	for _, row := range []struct{ name, text, want string }{
		{"empty", "", "c.yaml: source.url: is missing: name the repository to follow, as file:///srv/git/ops.git"},
		{"only a comment", "# nothing\n", "c.yaml: source.url: is missing: name the repository to follow, as file:///srv/git/ops.git"},
		{"nothing below source", "host: a\nsource:\n", "c.yaml:2: source.url: is missing: name the repository to follow, as file:///srv/git/ops.git"},
		{"unknown key", good + "sytem: true\n", "c.yaml:2: sytem: there is no such key\n  hint: did you mean system?"},
		{"unknown key below source", "source:\n  url: /x\n  brnch: main\n", "c.yaml:3: source.brnch: there is no such key\n  hint: did you mean branch?"},
		{"a key twice", good + "user: a\nuser: b\n", "c.yaml:3: user: is given twice, first in line 2\n  hint: leave one of them"},
		{"a list", "- source\n", "c.yaml:1: must hold keys and values, not a list"},
		{"text for source", "source: ops.git\n", "c.yaml:1: source: must hold keys and values, not a single value"},
		{"text for a truth", good + "system: maybe\n", "c.yaml:2: system: \"maybe\" is neither true nor false\n  hint: write true or false, without quotes"},
		{"text for a list", good + "homes: podman\n", "c.yaml:2: homes: must be a list, not a single value\n  hint: write [a, b], or each item on a line of its own that begins with '- '"},
		{"a list for a text", good + "user: [podman]\n", "c.yaml:2: user: must be a single value, not a list"},
		{"a wrong window", good + "windows: [at night]\n", `c.yaml:2: windows[0]: "at night" is no window: write daily 03:00-05:00, Sat,Sun 01:00-06:00 or Mon-Fri 22:00-02:00`},
		{"soak without a unit", good + "soak: 30\n", `c.yaml:2: soak: "30" is no duration: write 30s, 5m or 1h`},
		{"soak in words", good + "soak: long\n", `c.yaml:2: soak: "long" is no duration: write 30s, 5m or 1h`},
		{"a list for soak", good + "soak: [1s]\n", "c.yaml:2: soak: must be a single value, not a list"},
		{"interval without a unit", "source:\n  url: /x\n  interval: 5\n", `c.yaml:3: source.interval: "5" is no duration: write 30s, 5m or 1h`},
		{"a tab", "source:\n\turl: /x\n", "c.yaml:2: a tab stands in the indentation\n  hint: indent with spaces, not tabs"},
		{"a bracket that doesn't close", good + "homes: [a\n", "c.yaml:2: a list in [ ] isn't closed, or lacks a comma"},
		{"two documents", good + "---\n" + good, "c.yaml:3: holds more than one document\n  hint: remove the line --- and what follows it"},
		{"not UTF-8", good + "host: \xff\n", "c.yaml:2: is not UTF-8 text\n  hint: save the file as UTF-8"},
		{"several unknown keys", good + "sytem: true\nhsot: a\nsoak: 5s\nusre: b\n", "c.yaml:2: sytem: there is no such key\n  hint: did you mean system?\nc.yaml:3: hsot: there is no such key\n  hint: did you mean host?\nc.yaml:5: usre: there is no such key\n  hint: did you mean user?"},

		{"interval too short", "source: {url: /x, interval: 999ms}\n", "c.yaml:1: source.interval: at least 1s"},
		{"too many revisions", good + "keep:\n  revisions: 101\n", "c.yaml:3: keep.revisions: a number up to 100: write 0 to keep the last good one alone"},
		{"negative age", good + "keep: {age: -1h}\n", "c.yaml:2: keep.age: no negative duration"},
		{"images too often", good + "images: {interval: 1s}\n", "c.yaml:2: images.interval: at least 1m, or 0s for never"},
		{"credentials anywhere", good + "images:\n  authFile: auth.json\n", "c.yaml:3: images.authFile: \"auth.json\" is no absolute path"},
		{"no size", good + "keep:\n  free: 5G\n", "c.yaml:3: keep.free: \"5G\" is no size: write 500MiB or 5GiB"},
		{"negative builds", good + "maxBuilds: -1\n", "c.yaml:2: maxBuilds: no negative number: write 0 to build only what is trivial"},
		{"negative soak", good + "soak: -1s\n", "c.yaml:2: soak: no negative duration"},
		{"relative state", good + "state: var/lib\n", `c.yaml:2: state: "var/lib" is no absolute path`},
		{"nothing to keep", good + "system: false\n", "c.yaml:2: system: nothing is followed: set system, homes or user"},
		{"a path for a user", good + "user: ../root\n", `c.yaml:2: user: "../root" is no name`},
		{"a path for a home", good + "homes: [ann, a/b]\n", `c.yaml:2: homes[1]: "a/b" is no user's name`},
		{"nobody's home", good + "homes: [\"\"]\n", `c.yaml:2: homes[0]: "" is no user's name`},
		{"a home twice", good + "homes:\n- ann\n- bob\n- ann\n", `c.yaml:5: homes[2]: "ann" is there twice`},
		{"an option for an owner", "source:\n  url: /x\n  owner: -rf\n", `c.yaml:3: source.owner: "-rf" is no name`},
		{"a forge without a key", "source:\n  url: git@example.org:ops.git\n  knownHosts: /h\n",
			"c.yaml:1: source.keyFile: is missing: name the file of the private key, which only root can read (ssh-keygen -t ed25519 -N '' -f /var/lib/collie/keys/ssh makes one)"},
		{"a token for a file", "source:\n  url: /x\n  tokenFile: /t\n", "c.yaml:3: source.tokenFile: has a meaning only for https:// repositories: leave it out"},
		{"a mirror without an end", "source:\n  url: /x\n  mirrors:\n    - url: /y\n    - owner: ops\n", "c.yaml:5: source.mirrors[1].url: is missing: name the repository to follow, as file:///srv/git/ops.git"},
		{"a mirror's token", "source:\n  url: /x\n  mirrors:\n    - url: https://example.org/o\n      tokenFile: t\n", `c.yaml:5: source.mirrors[0].tokenFile: "t" is no absolute path`},
		{"a mirror's owner", "source:\n  url: /x\n  mirrors: [{url: /y, owner: -rf}]\n", `c.yaml:3: source.mirrors[0].owner: "-rf" is no name`},
		{"a mirror's unknown key", "source:\n  url: /x\n  mirrors:\n    - url: /y\n      branch: b\n", "c.yaml:5: source.mirrors[0].branch: there is no such key\n  hint: the keys here are url, owner, tokenFile, tokenUser, caFile, keyFile, knownHosts"},
		{"dots for a host", good + "host: ..\n", `c.yaml:2: host: ".." is no name`},
		{"a very long host", good + "host: " + strings.Repeat("a", 64) + "\n", `c.yaml:2: host: "` + strings.Repeat("a", 64) + `" is no name`},
		{"no policy", good + "services:\n  web: restart\n  my.db: later\n", `c.yaml:4: services.my.db: "later" is no policy: write restart, defer, never or reboot`},
		{"a policy that takes the machine down", good + "services: {user-processes: restart, file-system-/data: defer}\n",
			"c.yaml:2: services.file-system-/data: to stop it takes the machine down: write never or reboot, or leave it out\n" +
				"c.yaml:2: services.user-processes: to stop it takes the machine down: write never or reboot, or leave it out"},
		{"a policy for the agent", good + "services: {collie: never}\n", "c.yaml:2: services.collie: Collie replaces itself at a quiet point: leave it out"},
		{"no service's name", good + "services: {\"a\\tb\": never}\n", "c.yaml:2: services.a b: \"a\\tb\" is no service's name"},
		{"a list of services", good + "services: [web]\n", "c.yaml:2: services: must hold keys and values, not a list"},
		{"no time for a service", good + "serviceTimeout: 0s\n", "c.yaml:2: serviceTimeout: between 1s and 30m"},
		{"no time for others", good + "othersTimeout: 25h\n", "c.yaml:2: othersTimeout: between 1s and 24h"},
		{"an unknown key beside values that make no sense", "source: {url: /x, interval: 1ms}\nsytem: false\nsoak: -1s\nhomes: [a/b]\n", "c.yaml:1: source.interval: at least 1s\n" +
			"c.yaml:2: sytem: there is no such key\n  hint: did you mean system?\nc.yaml:3: soak: no negative duration\nc.yaml:4: homes[0]: \"a/b\" is no user's name"},
		{"what follows from an unknown key", "source: {ulr: /x}\n", "c.yaml:1: source.ulr: there is no such key\n  hint: did you mean url?"},
		{"what follows from a value of another kind", good + "system: false\nhomes: ann\n", "c.yaml:3: homes: must be a list, not a single value\n  hint: write [a, b], or each item on a line of its own that begins with '- '"},
		{"what follows from a mirror of another kind", "source:\n  url: /x\n  mirrors: [/y, {url: z}]\n", "c.yaml:3: source.mirrors[0]: must hold keys and values, not a single value\n" +
			"c.yaml:3: source.mirrors[1].url: \"z\" is no URL and no absolute path; write it like file:///srv/git/ops.git, https://host/ops.git or ssh://git@host/ops.git"},
		{"upper and lower case", good + "maxbuilds: 3\n", "c.yaml:2: maxbuilds: there is no such key\n  hint: upper and lower case differ: maxBuilds"},
		{"words for a number", good + "maxBuilds: three\n", `c.yaml:2: maxBuilds: "three" is no whole number`},
		{"many mistakes", "source: {interval: 1ms}\nsoak: -1s\nstate: x\nuser: a b\n", "c.yaml:1: source.url: is missing: name the repository to follow, as file:///srv/git/ops.git\n" +
			"c.yaml:1: source.interval: at least 1s\nc.yaml:2: soak: no negative duration\nc.yaml:3: state: \"x\" is no absolute path\nc.yaml:4: user: \"a b\" is no name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := parseConfig("c.yaml", []byte(row.text))
			if err == nil {
				t.Fatalf("it was taken, want %q", row.want)
			}
			if err.Error() != row.want {
				t.Errorf("got  %s\nwant %s", err, row.want)
			}
		})
	}
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := ReadConfig(file("good.yaml", "source: {url: /x}\n")); err != nil {
		t.Error(err)
	}
	huge := file("huge.yaml", "source: {url: /x}\n"+strings.Repeat("#", mistake.MostText))
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "configuration: open " + filepath.Join(dir, "none.yaml") + ": no such file or directory",
		huge:                            huge + ": is larger than 1 MiB",
	} {
		if _, err := ReadConfig(path); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"source: {url: file:///srv/git/ops.git}\n",
		"source:\n  url: /x\n  interval: 5m\nhomes: [a, b]\nsystem: false\nsoak: 1s\n",
		"source: &a {url: /x}\nhost: *a\n", "a: &a [*a]\n", "? x\n: y\n", "---\n---\n", "source:\n\turl\n", "soak: {a: b}\n", "!!binary x\n", "\xff\xfe",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := parseConfig("c.yaml", text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "c.yaml") && !strings.HasPrefix(line, "  hint: ") {
					t.Errorf("this line doesn't name the file: %q", line)
				}
			}
			return
		}
		if cfg.Source.URL == "" || time.Duration(cfg.Source.Interval) < time.Second || cfg.Soak < 0 || !filepath.IsAbs(cfg.State) {
			t.Errorf("taken: %+v", cfg)
		}
		for _, name := range append(cfg.Homes, cfg.User, cfg.Host, cfg.Source.Owner) {
			if strings.ContainsAny(name, "/\n\x00") || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
				t.Errorf("taken as a name: %q", name)
			}
		}
	})
}

func windows(t *testing.T, text string) (all []rollout.Window) {
	t.Helper()
	if err := yaml.Unmarshal([]byte("["+strconv.Quote(text)+"]"), &all); err != nil {
		t.Fatal(err)
	}
	return all
}
