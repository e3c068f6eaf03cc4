package guix

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Channel is one that a channels.scm names.
type Channel struct {
	Name   string
	URL    string
	Branch string // "master" where it names none, as for Guix
	Commit string
}

// Channels are those that a channels.scm names, in their order. All of them have their commits, or the error is a [mistake.List].
func Channels(text string) ([]Channel, error) {
	if err := CheckChannels(text); err != nil {
		return nil, err
	}
	forms, err := readScheme(text)
	if err != nil {
		return nil, err
	}
	var all []Channel
	var find func(forms []form)
	find = func(forms []form) {
		for _, f := range forms {
			if f.head() != "channel" {
				find(f.list)
				continue
			}
			c := Channel{Branch: "master"}
			for _, field := range f.list[1:] {
				if len(field.list) != 2 {
					continue
				}
				switch value := field.list[1].atom; field.head() {
				case "name":
					c.Name = value
				case "url":
					c.URL = value
				case "branch":
					c.Branch = value
				case "commit":
					c.Commit = value
				}
			}
			all = append(all, c)
		}
	}
	find(forms)
	return all, nil
}

// PinChannels is a channels.scm with other commits, by the name of the channel. Nothing else of the text changes.
func PinChannels(text string, commits map[string]string) (string, error) {
	channels, err := Channels(text)
	if err != nil {
		return "", err
	}
	next := map[string]string{} // by the commit that is there
	for _, c := range channels {
		to := commits[c.Name]
		if to == "" {
			to = c.Commit
		}
		if was, twice := next[c.Commit]; twice && was != to {
			return "", fmt.Errorf("%s: channel %s is at the commit of another, and is to be at another: write its commit %s by hand", channelsFile, c.Name, to)
		}
		next[c.Commit] = to
	}
	return commitText.ReplaceAllStringFunc(text, func(field string) string {
		begin := len(field) - len(channels[0].Commit)
		if to := next[field[begin:]]; to != "" {
			return field[:begin] + to
		}
		return field // in a comment
	}), nil
}

var commitText = regexp.MustCompile(`\(commit\s+"[0-9a-f]{40}`)

// A News entry is what a channel tells its users of one of its commits.
type News struct {
	Commit      string // or a tag
	Title, Body string
}

// NewsFile is the name of the file in which a channel has its news, as its .guix-channel says; nothing if it has none.
func NewsFile(text string) string {
	forms, err := readStore(text)
	if err != nil {
		return ""
	}
	f, is := seek(forms, "news-file")
	if !is || len(f.list) != 2 || !filepath.IsLocal(f.list[1].atom) {
		return ""
	}
	return f.list[1].atom
}

// ReadNews reads a channel's news, in English, the newest first: (channel-news (version 0) (entry (commit "…") (title (en "…")) (body …)) …).
func ReadNews(text string) ([]News, error) {
	forms, err := readStore(text)
	if err != nil {
		return nil, fmt.Errorf("reading the news of a channel: %w", err)
	}
	var all []News
	for _, f := range forms {
		if f.head() != "channel-news" {
			continue
		}
		for _, entry := range f.list {
			if entry.head() != "entry" {
				continue
			}
			if commit := commitOf(entry); commit != "" {
				all = append(all, News{commit, inEnglish(entry, "title"), inEnglish(entry, "body")})
			}
		}
	}
	return all, nil
}

var tagName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+/-]{0,100}$`)

// commitOf is the commit that an entry of news is about, or the tag.
func commitOf(entry form) string {
	if f, is := seek(entry.list, "commit"); is && len(f.list) == 2 && fullCommit.MatchString(f.list[1].atom) {
		return f.list[1].atom
	}
	if f, is := seek(entry.list, "tag"); is && len(f.list) == 2 && tagName.MatchString(f.list[1].atom) {
		return f.list[1].atom
	}
	return ""
}

// inEnglish is a text of an entry; in another language if it has none in English.
func inEnglish(entry form, field string) string {
	f, is := seek(entry.list, field)
	if !is {
		return ""
	}
	texts := slices.DeleteFunc(slices.Clone(f.list), func(text form) bool { return !text.isList || len(text.list) != 2 })
	i := slices.IndexFunc(texts, func(text form) bool { return text.head() == "en" })
	if len(texts) == 0 {
		return ""
	}
	return strings.TrimSpace(clean(texts[max(i, 0)].list[1].atom))
}
