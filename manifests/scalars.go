package manifests

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/mistake"
)

// Scalars, and the keys of maps. None of their complaints shows a value of a Secret: base64Text and anyText quote nothing.

// anyText accepts the text of the file, quoted or not: `value: 8001` is the text 8001, and False remains False.
var anyText = &form{is: "text", scalar: func(n *yaml.Node) (any, string, string) {
	return n.Value, "", ""
}}

// argument is text that can be handed to a program.
var argument = &form{is: "text", scalar: func(n *yaml.Node) (any, string, string) {
	if strings.ContainsRune(n.Value, 0) {
		return nil, "has a NUL in it", ""
	}
	return n.Value, "", ""
}}

var headerValue = &form{is: "text", scalar: func(n *yaml.Node) (any, string, string) {
	if strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return nil, "has a line break or another control character in it", "write it in one line"
	}
	return n.Value, "", ""
}}

var boolean = &form{is: "true or false", scalar: func(n *yaml.Node) (any, string, string) {
	if plain(n) {
		switch n.Value {
		case "true", "True", "TRUE":
			return true, "", ""
		case "false", "False", "FALSE":
			return false, "", ""
		}
	}
	return nil, "must be true or false" + unquoted(n), ""
}}

var (
	portNumber = wholeAs("a port from 1 to 65535", 1, 65535)
	userID     = whole(0, 1<<32-2)
)

func whole(least, most int64) *form {
	if most >= 1<<31-1 {
		return wholeAs(fmt.Sprintf("a whole number from %d on", least), least, most)
	}
	return wholeAs(fmt.Sprintf("a whole number from %d to %d", least, most), least, most)
}

func wholeAs(is string, least, most int64) *form {
	return &form{is: is, scalar: func(n *yaml.Node) (any, string, string) {
		i, ok := number(n)
		if !ok {
			return nil, "must be a whole number" + unquoted(n), ""
		}
		if i < least || i > most {
			return nil, fmt.Sprintf("%s is not %s", shorten(n.Value), is), ""
		}
		return i, "", ""
	}}
}

// fileMode is read as YAML reads it: with a leading 0 it is octal, and 420 is 0644.
var fileMode = &form{is: "a file mode", scalar: func(n *yaml.Node) (any, string, string) {
	i, ok := number(n)
	if !ok {
		return nil, "must be a file mode such as 0644" + unquoted(n), ""
	}
	if i < 0 || i > 0o777 {
		return nil, fmt.Sprintf("%s is not a file mode from 0 to 0777", shorten(n.Value)), "write it with a leading 0: 0644"
	}
	return i, "", ""
}}

// only takes a single number: there may be others in a cluster.
func only(value int64, hint string) *form {
	return &form{is: strconv.FormatInt(value, 10), scalar: func(n *yaml.Node) (any, string, string) {
		switch i, ok := number(n); {
		case !ok:
			return nil, "must be a whole number" + unquoted(n), ""
		case i != value:
			return nil, shorten(n.Value) + " is not supported", hint
		}
		return value, "", ""
	}}
}

func number(n *yaml.Node) (int64, bool) {
	if !plain(n) {
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 0, 64)
	return i, err == nil
}

var portOrName = &form{is: "a port or its name", scalar: func(n *yaml.Node) (any, string, string) {
	if _, ok := number(n); ok {
		return portNumber.scalar(n)
	}
	return portName.scalar(n)
}}

// matching is a scalar that a pattern describes.
func matching(is, pattern, hint string, most int) *form {
	re := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
	return &form{is: is, scalar: func(n *yaml.Node) (any, string, string) {
		switch {
		case n.Value == "":
			return nil, "is empty", hint
		case len(n.Value) > most:
			return nil, fmt.Sprintf("is %d characters long; %d are the most", utf8.RuneCountInString(n.Value), most), ""
		case !re.MatchString(n.Value):
			return nil, fmt.Sprintf("%q is not %s", shorten(n.Value), is), hint
		}
		return n.Value, "", ""
	}}
}

const labelPattern = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`

// dnsLabel is a name of RFC 1123.
func dnsLabel(most int) *form {
	return matching("a name", labelPattern, "use lower-case letters, digits and '-', with a letter or digit at both ends", most)
}

var (
	dnsName = matching("a name", labelPattern+`(\.`+labelPattern+`)*`,
		"use lower-case letters, digits, '-' and '.', with a letter or digit at both ends", 200) // a hash is added, and it becomes a file's name
	portName = matching("the name of a port", `[a-z0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*|[a-z0-9]+(-[a-z0-9]+)*-[a-z0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*`,
		"use lower-case letters, digits and single '-', with a letter in it", 15)
	envName = matching("the name of a variable", `[-._a-zA-Z][-._a-zA-Z0-9]*`,
		"use letters, digits, '_', '-' and '.', not beginning with a digit", 1024)
	capability = matching("a capability", `[A-Z0-9_]+`, "such as NET_ADMIN, or ALL", 64)
	signalName = matching("a signal", `SIG[A-Z0-9+-]+`, "such as SIGINT", 16)
	imageName  = matching("an image", `(?:(?:[a-zA-Z0-9]+(?:[.-][a-zA-Z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?`+ // host:port/
		`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*`+
		`(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?`,
		"such as docker.io/library/nginx:1.27", 512)
	quantity = matching("a quantity", `\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?`,
		"such as 500m, 64Mi or 1.5G", 32)
	headerName = matching("the name of a header", "[-!#$%&'*+.^_`|~0-9A-Za-z]+", "such as X-Token", 256)
	mountPath  = matching("a path in the container", `/[^:\x00]*(:[A-Za-z,]+)?`, "begin it with /", 4096)
)

var pullPolicy = enum("Always", "IfNotPresent", "Never")

func enum(words ...string) *form {
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	is := strings.Join(said, ", ")
	if n := len(said); n > 1 {
		is = strings.Join(said[:n-1], ", ") + " or " + said[n-1]
	}
	return &form{is: is, scalar: func(n *yaml.Node) (any, string, string) {
		if slices.Contains(words, n.Value) {
			return n.Value, "", ""
		}
		_, hint := mistake.Guess(n.Value, said)
		return nil, fmt.Sprintf("%q is not %s", shorten(n.Value), is), hint
	}}
}

var ipAddress = &form{is: "an IP address", scalar: func(n *yaml.Node) (any, string, string) {
	if _, err := netip.ParseAddr(n.Value); err != nil {
		return nil, fmt.Sprintf("%q is not an IP address", shorten(n.Value)), ""
	}
	return n.Value, "", ""
}}

var absolute = &form{is: "an absolute path", scalar: func(n *yaml.Node) (any, string, string) {
	switch {
	case !path.IsAbs(n.Value) || strings.ContainsRune(n.Value, 0):
		return nil, fmt.Sprintf("%q is not an absolute path", shorten(n.Value)), "begin it with /"
	case climbs(n.Value):
		return nil, fmt.Sprintf("%q leads upwards", shorten(n.Value)), "write the path without .."
	}
	return n.Value, "", ""
}}

var relative = &form{is: "a path below the volume", scalar: func(n *yaml.Node) (any, string, string) {
	switch {
	case n.Value == "":
		return nil, "is empty", ""
	case path.IsAbs(n.Value) || strings.ContainsRune(n.Value, 0):
		return nil, fmt.Sprintf("%q is not a path below the volume", shorten(n.Value)), "write it without the leading /"
	case climbs(n.Value):
		return nil, fmt.Sprintf("%q leads out of the volume", shorten(n.Value)), "write the path without .."
	}
	return n.Value, "", ""
}}

var fileName = &form{is: "the name of a file", scalar: func(n *yaml.Node) (any, string, string) {
	if dataKey(n.Value) != "" {
		return nil, fmt.Sprintf("%q is not the name of a file", shorten(n.Value)), "use letters, digits, '-', '_' and '.': Podman makes no folders in such a volume"
	}
	return n.Value, "", ""
}}

func climbs(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// base64Text is encoded again, so that line breaks in it make no difference.
var base64Text = &form{is: "base64", scalar: func(n *yaml.Node) (any, string, string) {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
	if err != nil {
		return nil, "is not base64", "encode the value, or give it as plain text: in stringData of a Secret, in data of a ConfigMap"
	}
	return base64.StdEncoding.EncodeToString(raw), "", ""
}}

// Keys.

func texts(key func(string) string) *form { return &form{values: anyText, key: key} }

var dataKeyPattern = regexp.MustCompile(`\A[-._a-zA-Z0-9]+\z`)

func dataKey(k string) string {
	switch {
	case len(k) > 253:
		return "the key is longer than 253 characters"
	case k == "." || k == ".." || strings.HasPrefix(k, "..") || !dataKeyPattern.MatchString(k):
		return "is no key for a file: use letters, digits, '-', '_' and '.'"
	}
	return ""
}

func labelKey(k string) string {
	switch {
	case k == "" || strings.ContainsAny(k, " \t\r\n\x00="):
		return "is no key for a label"
	case strings.HasPrefix(k, "collie.io/"):
		return "keys that begin with collie.io/ are Collie's own, and this one is not known"
	}
	return ""
}

// resourceKey lets through what Podman knows: devices by path or by CDI name.
func resourceKey(k string) string {
	switch {
	case k == "cpu", k == "memory", k == "storage":
		return ""
	case strings.Contains(k, "/") && strings.Contains(k, "="):
		return ""
	}
	return "is no resource of this machine: use cpu, memory or podman.io/device=PATH"
}

func plain(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

func unquoted(n *yaml.Node) string {
	if plain(n) {
		return ""
	}
	return ", without quotes"
}

// shorten keeps a message short, whatever the file holds.
func shorten(s string) string { return foreign.Cut(s, 60) }
