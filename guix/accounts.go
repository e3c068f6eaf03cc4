package guix

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An account is a user, as a system wants it or as /etc/passwd has it.
type account struct {
	name, uid, comment, home, shell string
	group                           string
	groups                          []string // the others, sorted
	system                          bool
}

type group struct{ name, id string }

// accounts compares the users and groups that a system makes with those there are: Guix takes out of /etc/passwd who
// isn't in the configuration, whoever put them there.
//
//	of a user     uid   primary and other groups   home   shell   comment          password
//	what is live  kept  replaced                   repl.  repl.   kept, for people  kept
func accounts(etc string, next scripts) []Detail {
	if len(next.users) == 0 || len(next.groups) == 0 { // a script that makes none leaves all as it is
		return nil
	}
	users, groups := liveAccounts(etc)
	names := map[string]string{}
	for name, id := range groups {
		names[id] = name
	}
	var all []Detail
	for _, u := range next.users {
		live, known := users[u.name]
		delete(users, u.name)
		u.group = or2(names[u.group], u.group) // it may be a number
		d := Detail{Change: Change{Does: "update", Subject: "user " + u.name}}
		switch {
		case !known:
			d.Does, d.Says = "add", fmt.Sprintf("%s, home %s, shell %s", inGroups(u), u.home, storeName(u.shell))
		default:
			if d.Says = u.differs(live); d.Says == "" {
				continue
			}
		}
		all = append(all, d)
	}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		all = append(all, Detail{Change: Change{"remove", "user " + name, "it isn't in the configuration; " + users[name].home + " stays"}})
	}
	for _, g := range next.groups {
		id, known := groups[g.name]
		delete(groups, g.name)
		switch {
		case !known:
			all = append(all, Detail{Change: Change{Does: "add", Subject: "group " + g.name}})
		case g.id != "" && g.id != id:
			all = append(all, Detail{Change: Change{Does: "update", Subject: "group " + g.name}, Old: id, New: g.id})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, Detail{Change: Change{"remove", "group " + name, "it isn't in the configuration"}})
	}
	slices.SortStableFunc(all, func(a, b Detail) int { return strings.Compare(a.Does+a.Subject, b.Does+b.Subject) })
	return all
}

func inGroups(u account) string {
	others := slices.DeleteFunc(slices.Clone(u.groups), func(name string) bool { return name == u.group })
	return "groups " + strings.Join(append([]string{u.group}, others...), ", ")
}

// differs says what becomes of a live user.
func (u account) differs(live account) string {
	var says []string
	add := func(what, old, next string) {
		if old != next {
			says = append(says, fmt.Sprintf("%s %s → %s", what, or2(old, "none"), or2(next, "none")))
		}
	}
	if u.uid != "" {
		add("uid", live.uid, u.uid)
	}
	add("group", live.group, u.group)
	add("groups", strings.Join(live.groups, ","), strings.Join(u.groups, ","))
	add("home", live.home, u.home)
	if u.system {
		add("comment", live.comment, u.comment)
	}
	if add("shell", storeName(live.shell), storeName(u.shell)); live.shell != u.shell && storeName(live.shell) == storeName(u.shell) {
		says = append(says, "the shell is rebuilt")
	}
	return strings.Join(says, "; ")
}

var (
	storeHash = regexp.MustCompile(`/gnu/store/[0-9a-z]{32}-`)
	storePath = regexp.MustCompile(`/gnu/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+`)
)

// storeName is a path without the store and the hash: bash-5.2.37/bin/bash.
func storeName(text string) string { return storeHash.ReplaceAllString(text, "") }

// liveAccounts reads /etc/passwd and /etc/group.
func liveAccounts(etc string) (map[string]account, map[string]string) {
	users, groups := map[string]account{}, map[string]string{}
	names, members := map[string]string{}, map[string][]string{}
	for _, f := range fields(filepath.Join(etc, "group"), 4) {
		groups[f[0]], names[f[2]] = f[2], f[0]
		for _, user := range strings.Split(f[3], ",") {
			members[user] = append(members[user], f[0])
		}
	}
	for _, f := range fields(filepath.Join(etc, "passwd"), 7) {
		users[f[0]] = account{name: f[0], uid: f[2], group: or2(names[f[3]], f[3]), comment: f[4], home: f[5], shell: f[6],
			groups: slices.Sorted(slices.Values(members[f[0]]))}
	}
	return users, groups
}

// fields are the lines of a file of n fields.
func fields(file string, n int) [][]string {
	text, err := readBounded(file)
	if err != nil {
		return nil
	}
	var all [][]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), ":"); len(f) == n {
			all = append(all, f)
		}
	}
	return all
}
