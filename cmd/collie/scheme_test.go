package main

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// header begins each file of Scheme; what the file is about follows.
const header = `;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
`

const columns = 78

var (
	exportForm    = regexp.MustCompile(`(?s)#:export \((.*?)\)`)
	procedureForm = regexp.MustCompile(`(?m)^\(define\*? \((\S+?)(?:\s|\)).*`)
)

// Guix's own Scheme is written like this, so what Collie's users get is. The lab's isn't among that.
func TestSchemeIsWrittenAsGuixsIs(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("../../guix", func(file string, _ fs.DirEntry, err error) error {
		if file == "../../guix/lab" {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(file) != ".scm" {
			return err
		}
		seen++
		text := read(t, file)
		for _, mistake := range unlikeGuixs(text) {
			t.Errorf("%s: %s", file, mistake)
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d files of Scheme were found (%v)", seen, err)
	}
}

// unlikeGuixs are the mistakes in a file of Scheme.
func unlikeGuixs(text string) (mistakes []string) {
	if !strings.HasPrefix(text, header) || !strings.Contains(text, "\n;;; Code:\n") {
		mistakes = append(mistakes, "it doesn't begin with copyright, licence, Commentary and Code as the others do")
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > columns {
			mistakes = append(mistakes, "line "+line+" is longer than 78 columns")
		}
		if line != strings.TrimRight(line, " \t") || strings.Contains(line, "\t") {
			mistakes = append(mistakes, "line "+line+" has a tab, or spaces at its end")
		}
		m := procedureForm.FindStringSubmatch(line)
		if m == nil || !exported(text, m[1]) {
			continue
		}
		rest := strings.Join(lines[i:], "\n")
		if !strings.HasPrefix(strings.TrimSpace(rest[len(signature(rest)):]), `"`) {
			mistakes = append(mistakes, "the public procedure "+m[1]+" has no docstring")
		}
	}
	return mistakes
}

func exported(text, name string) bool {
	export := exportForm.FindStringSubmatch(text)
	return export != nil && slices.Contains(strings.Fields(export[1]), name)
}

// signature is the beginning of a definition, up to the end of its parameters.
func signature(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
			if depth == 1 {
				return text[:i+1]
			}
		}
	}
	return text
}

func TestSchemeUnlikeGuixs(t *testing.T) {
	good := header + ";;; It greets.\n;;;\n;;; Code:\n\n(define-module (greet)\n  #:export (greet\n            %name))\n\n" +
		"(define* (greet name\n                #:key (again '()))\n  \"Greet NAME.\"\n  (display name))\n\n(define (own) 1)\n"
	for name, text := range map[string]string{
		"":            good,
		"copyright":   strings.TrimPrefix(good, ";;; Collie"),
		"78 columns":  good + ";; " + strings.Repeat("é", 76) + "\n",
		"a tab":       strings.Replace(good, "  (display", "\t(display", 1),
		"spaces at":   strings.Replace(good, "name))\n\n(define (own", "name)) \n\n(define (own", 1),
		"docstring":   strings.Replace(good, "  \"Greet NAME.\"\n", "", 1),
		"Code as the": strings.Replace(good, ";;; Code:", ";;; Begin:", 1),
	} {
		mistakes := unlikeGuixs(text)
		if len(mistakes) != min(1, len(name)) || name != "" && !strings.Contains(mistakes[0], name) {
			t.Errorf("%s: %q", name, mistakes)
		}
	}
}
