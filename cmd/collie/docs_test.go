package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/collie/agent"
	"example.org/collie/manifests"
)

const docs = "../../docs"

// What docs/ has of commands and options is written by the code that has them.
func TestDocsAreCurrent(t *testing.T) {
	all := commands(t)
	for name, text := range map[string]string{
		"commands.md": commandsPage(all, actions(t)),
		"collie.1":    manPage(all),
		"options.md":  optionsPage(t, records(t)),
		"collie.texi": texinfoPage(t),
		"way.svg":     wayPicture(),
		"manifests.md": "# Manifests\n\n" + generated + "All kinds, fields and annotations in `pods/`. Those marked *noted* have no meaning on one machine and are accepted with a note. Those\n" +
			"marked **mistake** cause the commit to be rejected, and so does every key that isn't listed here.\n\n" +
			manifests.Reference(),
	} {
		file := filepath.Join(docs, name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if had, err := os.ReadFile(file); err != nil || string(had) != text {
			t.Errorf("docs/%s is older than the code: run `make docs`, and commit what it writes", name)
		}
	}
}

const generated = "<!-- Written by `make docs`. -->\n\n"

// commandsPage is docs/commands.md.
func commandsPage(all []*cobra.Command, actions [][2]string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("# Commands\n\n%s", generated)
	p("Except for `bootstrap`, `forward`, `init`, `run`, `secret`, `validate` and `version`, the commands ask the agent through its control socket. Only root\n")
	p("and the group `collie` may use it. Answers go to stdout, everything else to stderr.\n")
	for _, group := range all[0].Groups() {
		p("\n| %s | |\n|---|---|\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range all[1:] {
			if groupOf(c) == group.ID {
				p("| [`%s`](#collie-%s) | %s |\n", useOf(c), strings.ReplaceAll(name(c), " ", "-"), cell(c.Short))
			}
		}
	}
	p("\n## Exit codes\n\n| code | means |\n|---|---|\n")
	for _, e := range exitCodes {
		p("| %d | %s |\n", e.code, cell(e.means))
	}
	p("\nWith `--json`, an answer is JSON on stdout, and an error is one JSON object on stderr, also if the call itself is wrong:\n\n")
	p("```json\n{\"error\":\"revision 2282ed69bda9 was rolled back: pod web: exited with 1\",\"exitCode\":4}\n```\n\n")
	p("With `--verbose`, the object has the chain of causes, `because`. The progress of `--wait` is not shown with `--json`. A program can read\n")
	p("the verdict from the answer or from the exit code: 1 means that something is broken, 5 that there is no verdict yet.\n")
	p("\n## For all commands\n\n%s", flagTable(all[0].PersistentFlags()))
	for _, c := range all[1:] {
		p("\n## collie %s\n\n%s\n\n```\n%s\n```\n\n", name(c), sentence(c), useOf(c))
		if flags := flagTable(c.LocalNonPersistentFlags()); flags != "" {
			p("%s\n", flags)
		}
		p("For example:\n\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
	p("\n## By Shepherd\n\n`herd ACTION collie` runs the command, for three minutes at most. Options come after `--`: `herd logs collie -- --lines 5`. The exception is\n`herd status collie`: it is Shepherd's own, about the service.\n\n| action | what |\n|---|---|\n")
	for _, a := range actions {
		p("| `%s` | %s |\n", a[0], cell(a[1]))
	}
	p("\n## Completions, manual\n\nThe Guix package has completions for Bash, Zsh and fish, and the manual page `collie(1)`. They also complete revisions, from the\n")
	p("history, and layers, from the status. Elsewhere `collie completion SHELL` prints the completions of a shell.\n")
	return b.String()
}

// groupOf is the group that the help shows a command in.
func groupOf(c *cobra.Command) string {
	for ; c.GroupID == "" && c.HasParent(); c = c.Parent() {
	}
	return c.GroupID
}

// useOf is how a command is called.
func useOf(c *cobra.Command) string {
	_, args, _ := strings.Cut(c.Use, " ")
	use := strings.TrimSpace("collie " + name(c) + " " + args)
	if flagTable(c.LocalNonPersistentFlags()) != "" {
		use += " [OPTION…]"
	}
	return use
}

// sentence is what a command says it does.
func sentence(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "), "|", "\\|")
}

func eachFlag(flags *pflag.FlagSet, do func(name, usage string)) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			usage += " (by default " + strings.TrimSuffix(strings.TrimSuffix(f.DefValue, "0s"), "0m") + ")"
		}
		do(name, usage)
	})
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	eachFlag(flags, func(name, usage string) { fmt.Fprintf(&b, "| `%s` | %s |\n", name, cell(usage)) })
	if b.Len() == 0 {
		return ""
	}
	return "| option | what |\n|---|---|\n" + b.String()
}

// manPage is docs/collie.1, in the macros of man(7).
func manPage(all []*cobra.Command) string {
	root := all[0]
	var b strings.Builder
	p := func(format string, args ...any) {
		for i, a := range args {
			args[i] = roff(fmt.Sprint(a))
		}
		fmt.Fprintf(&b, format, args...)
	}
	flags := func(set *pflag.FlagSet) {
		eachFlag(set, func(name, usage string) { p(".TP\n.B %s\n%s\n", name, usage) })
	}
	about, _, _ := strings.Cut(root.Long, "\n\nExit codes")
	p(".\\\" Written by make docs.\n.TH COLLIE 1 \"\" Collie \"User Commands\"\n.SH NAME\ncollie \\- %s\n", strings.ToLower(root.Short[:1])+root.Short[1:])
	p(".SH SYNOPSIS\n.B collie\n.I COMMAND\n.RI [ OPTION ...]\n.SH DESCRIPTION\n%s\n.SH COMMANDS\n", about)
	for _, c := range all[1:] {
		p(".SS %s\n%s\n", useOf(c), sentence(c))
		flags(c.LocalNonPersistentFlags())
		p(".PP\n.EX\n%s\n.EE\n", c.Example)
	}
	p(".SH OPTIONS\n")
	flags(root.PersistentFlags())
	p(".SH EXIT STATUS\n")
	for _, e := range exitCodes {
		p(".TP\n.B %s\n%s\n", strconv.Itoa(e.code), e.means)
	}
	p(".SH ENVIRONMENT\n.TP\n.B COLLIE_SOCKET\nThe agent's control socket.\n.SH FILES\n")
	for _, f := range [][2]string{
		{"/etc/collie.yaml", "The guest's configuration, from its Guix service."},
		{"/run/collie/collie.sock", "The control socket, for root and the group collie."},
		{"/var/lib/collie", "Clone, state, journal, and the output of Guix."},
		{"/var/log/collie.log", "The agent's log."},
	} {
		p(".TP\n.I %s\n%s\n", f[0], f[1])
	}
	p(".SH SEE ALSO\n.BR herd (1),\n.BR guix (1)\n")
	return b.String()
}

// roff keeps text from being read as requests.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// A record is one of the Guix service's, as its Scheme defines it. A test in the lab wants Guix to say the same.
type record struct {
	name   string
	fields []field
}

// A field has the YAML key of its name in other letters, unless it is for what is around the agent.
type field struct{ name, kind, initial, what string }

const scheme = "../../guix/modules/collie/services.scm"

var (
	recordForm  = regexp.MustCompile(`(?sm)^\(define-configuration(?:/no-serialization)? (\S+)\n(.*?)\n$`)
	fieldForm   = regexp.MustCompile(`(?s)\n?  \((\S+)\s+\((\S+?)(?: (.*?))?\)\s+"((?:[^"\\]|\\.)*)"(?:\s+\(sanitizer \S+\))?\)`)
	listForm    = regexp.MustCompile(`(?m)^\(define (%\S+) \(list (.*)\)\)$`)
	actionForm  = regexp.MustCompile(`(?s)\(collie-action '(\S+)\s+"((?:[^"\\]|\\.)*)"`)
	texinfoForm = regexp.MustCompile(`@(\w+)\{([^}]*)\}`)
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// records are all that services.scm defines.
func records(t *testing.T) (all []record) {
	t.Helper()
	text := read(t, scheme)
	values := defaultsIn(text)
	for _, form := range recordForm.FindAllStringSubmatch(text, -1) {
		r := record{name: form[1]}
		for _, f := range fieldForm.FindAllStringSubmatch(form[2], -1) {
			what := texinfoForm.ReplaceAllString(strings.NewReplacer(`\"`, `"`, "\n", " ", ".  ", ". ", `\\`, `\`).Replace(f[4]), "`$2`")
			r.fields = append(r.fields, field{f[1], f[2], cmp.Or(values[f[3]], f[3]), strings.ReplaceAll(what, "@@", "@")})
			if !strings.Contains(text, "\n            "+r.name+"-"+f[1]) {
				t.Errorf("%s exports no %s-%s", scheme, r.name, f[1])
			}
		}
		for _, accessor := range regexp.MustCompile(`\n {12}`+r.name+`-([^\s)]+)`).FindAllStringSubmatch(text, -1) {
			if accessor[1] != "fields" && !slices.ContainsFunc(r.fields, func(f field) bool { return f.name == accessor[1] }) {
				t.Errorf("%s: the field %s of %s isn't understood here: write it as the others are", scheme, accessor[1], r.name)
			}
		}
		all = append(all, r)
	}
	if len(all) < 2 || strings.Count(text, "\n(define-configuration") != len(all) {
		t.Fatalf("%s: %d records are understood here", scheme, len(all))
	}
	return all
}

// defaultsIn are the defaults that text has by a name, as they are.
func defaultsIn(text string) map[string]string {
	values := map[string]string{"for-home?": "#f"}
	for _, list := range listForm.FindAllStringSubmatch(text, -1) {
		values[list[1]] = "'(" + list[2] + ")"
	}
	return values
}

func actions(t *testing.T) (all [][2]string) {
	t.Helper()
	for _, m := range actionForm.FindAllStringSubmatch(read(t, scheme), -1) {
		all = append(all, [2]string{m[1], strings.Trim(strings.NewReplacer("`", "'", "\\\n", "").Replace(m[2]), ".")})
	}
	if len(all) < 5 {
		t.Fatalf("%s: %d actions are understood here", scheme, len(all))
	}
	return all
}

// Shepherd's actions have the words of the commands, but for those that ask no agent, and its own.
func TestDocsHaveAnActionForEachCommand(t *testing.T) {
	not := map[string]string{
		"bootstrap": "is for before there is an agent",
		"status":    "Shepherd's own, so it is deployment",
		"restart":   "Shepherd's own, of the agent itself",
		"doctor":    "looks from outside, and needs no agent",
		"uninstall": "is for when no agent is left",
		"forward":   "is what the agent asks",
		"import":    "writes a file, which Shepherd's clients don't",
		"init":      "asks nobody",
		"key":       "needs no agent, before whose first run it is wanted",
		"run":       "is the agent",
		"secret":    "works on files",
		"update":    "works in a clone of the repository",
		"validate":  "asks nobody",
		"version":   "asks nobody",
	}
	words := map[string]bool{"deployment": true}
	for _, c := range commands(t)[1:] {
		if word, _, _ := strings.Cut(name(c), " "); not[word] == "" {
			words[word] = true
		}
	}
	for _, a := range actions(t) {
		if !words[a[0]] {
			t.Errorf("%s has the action %s, for which there is no command", scheme, a[0])
		}
		delete(words, a[0])
	}
	for word := range words {
		t.Errorf("%s has no action %s for `collie %s`; if it asks no agent, say so here", scheme, word, word)
	}
}

// key is the YAML key of a field: restart-policy is restartPolicy, system? is system.
func (f field) key() string {
	words := strings.Split(strings.TrimSuffix(f.name, "?"), "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// optionsOf are the fields by their YAML key as it would be. A field that holds a record stands for the record's; one that
// holds a list of them comes before theirs.
func optionsOf(all []record) (keys []string, fields map[string]field, owner map[string]string) {
	fields, owner = map[string]field{}, map[string]string{}
	var add func(r record, below string)
	add = func(r record, below string) {
		for _, f := range r.fields {
			key := below + f.key()
			i := slices.IndexFunc(all, func(r record) bool {
				return f.kind == r.name || f.kind == "list-of-"+r.name+"s" || f.kind == "list-of-"+r.name || f.kind == "maybe-"+r.name
			})
			if i < 0 || strings.HasPrefix(f.kind, "list-of-") {
				keys, fields[key], owner[key] = append(keys, key), f, r.name
			}
			if i >= 0 {
				add(all[i], key+".")
			}
		}
	}
	i := slices.IndexFunc(all, func(r record) bool { return r.name == "collie-configuration" })
	add(all[i], "")
	return keys, fields, owner
}

// yamlKeys are those of the agent's configuration.
func yamlKeys(of reflect.Type, below string) (keys []string) {
	list := of.Kind() == reflect.Slice
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if list || of.Kind() != reflect.Struct {
		keys = []string{strings.TrimSuffix(below, ".")}
	}
	if of.Kind() != reflect.Struct {
		return keys
	}
	for i := range of.NumField() {
		name, how, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
		switch {
		case how == "inline":
			keys = append(keys, yamlKeys(of.Field(i).Type, below)...)
		case name != "-" && of.Field(i).IsExported():
			keys = append(keys, yamlKeys(of.Field(i).Type, below+name+".")...)
		}
	}
	return keys
}

// around are the fields that say what is around the agent, and have no YAML key.
var around = []string{"collie", "podman", "createUser", "subordinateIds", "gracePeriod", "podGracePeriod", "respawnDelay", "environmentVariables", "homeService"}

// Each key of the YAML has a field of a record, and each field a key, unless it is for what is around the agent.
func TestDocsHaveAllOptions(t *testing.T) {
	keys, fields, _ := optionsOf(records(t))
	ours := yamlKeys(reflect.TypeFor[agent.Config](), "")
	for _, key := range ours {
		if _, is := fields[key]; !is {
			t.Errorf("agent/config.go has the key %s, but %s has no field for it", key, scheme)
		}
	}
	for _, key := range keys {
		if slices.Contains(ours, key) == slices.Contains(around, key) {
			t.Errorf("%s has the field %s, but agent/config.go no key %s; if it is for what is around the agent, say so in `around` here", scheme, fields[key].name, key)
		}
	}
	yaml := read(t, scheme)
	for _, key := range ours {
		last := key[strings.LastIndexByte(key, '.')+1:]
		if !strings.Contains(yaml, last+`"`) && !strings.Contains(yaml, last+`:`) {
			t.Errorf("collie.yaml of %s doesn't write the key %s", scheme, key)
		}
	}
}

// optionsMark is the line of docs/options.md from which on it is written by the code. What is above it is written by hand.
const optionsMark = "<!-- `make docs` writes what follows. -->\n\n"

// optionsPage is docs/options.md.
func optionsPage(t *testing.T, all []record) string {
	keys, fields, owner := optionsOf(all)
	ours := yamlKeys(reflect.TypeFor[agent.Config](), "")
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	row := func(key string, columns ...string) {
		f := fields[key]
		initial := "must be given"
		switch {
		case f.initial != "":
			initial = "`" + f.initial + "`"
		case strings.HasPrefix(f.kind, "maybe-"):
			initial = "none"
		}
		p("| %s | %s | %s | %s |\n", strings.Join(columns, " | "), strings.TrimPrefix(f.kind, "maybe-"), cell(initial), cell(f.what))
	}
	written, err := os.ReadFile(filepath.Join(docs, "options.md"))
	if err != nil {
		t.Fatal(err)
	}
	byHand, _, found := strings.Cut(string(written), optionsMark)
	if !found {
		t.Fatalf("docs/options.md has no line %q", optionsMark)
	}
	p("%s%s| YAML | Scheme | kind | default | what |\n|---|---|---|---|---|\n", byHand, optionsMark)
	for _, key := range keys {
		if slices.Contains(ours, key) {
			scheme := "`" + fields[key].name + "`"
			if owner[key] != "collie-configuration" {
				scheme += " of `" + owner[key] + "`"
			}
			row(key, "`"+key+"`", scheme)
		}
	}
	p("\n## Around the agent\n\nThese options exist in Scheme only. They are for the services, accounts and packages around the agent.\n\n")
	p("| Scheme | kind | default | what |\n|---|---|---|---|\n")
	for _, key := range keys {
		if !slices.Contains(ours, key) {
			row(key, "`"+fields[key].name+"`")
		}
	}
	p("\n## What other services add\n\nA service adds to Collie's configuration with a `collie-extension`, which has these fields:\n")
	p("`(simple-service 'ann collie-service-type (collie-extension (homes '(\"ann\"))))`.\n\n")
	p("| Scheme | kind | default | what |\n|---|---|---|---|\n")
	i := slices.IndexFunc(all, func(r record) bool { return r.name == "collie-extension" })
	for _, f := range all[i].fields {
		fields[f.name] = f
		row(f.name, "`"+f.name+"`")
	}
	return b.String()
}
