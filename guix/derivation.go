package guix

import (
	"errors"
	"fmt"
)

// A derivation is what a .drv file of the store says, as far as it matters here.
type derivation struct {
	outputs []string // paths in the store
	local   bool     // Guix marks it as made here: no substitute is asked for, or none is worth it
}

const (
	derivationLimit = 8 << 20 // bytes; the largest are profiles of thousands of packages
	derivationDepth = 8       // of lists in lists; the format has three
)

func (s Store) readDerivation(file string) (derivation, error) {
	text, err := s.Read(file, derivationLimit)
	if err != nil {
		return derivation{}, err
	}
	d, err := parseDerivation(string(text))
	if err != nil {
		return derivation{}, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// parseDerivation reads the format that guix-daemon has from Nix:
//
//	Derive(outputs,inputs,sources,system,builder,arguments,environment)
//
// where an output is a tuple of name, path, hash algorithm and hash, and the environment is a list of pairs: with
// preferLocalBuild in what makes files, profiles and unions, and allowSubstitutes=0 in what never comes as a substitute
// (guix/derivations.scm, guix 1.5.0).
func parseDerivation(text string) (derivation, error) {
	p := termParser{rest: text}
	if !p.take("Derive") {
		return derivation{}, errors.New("no derivation")
	}
	top, err := p.list(0)
	if err == nil && p.rest != "" {
		err = errors.New("something follows the derivation")
	}
	if err == nil && len(top.list) != 7 {
		err = fmt.Errorf("a derivation of %d parts, not 7", len(top.list))
	}
	if err != nil {
		return derivation{}, err
	}
	var d derivation
	for _, o := range top.list[0].list {
		if len(o.list) != 4 || o.list[1].text == "" {
			return derivation{}, errors.New("an output without a path")
		}
		d.outputs = append(d.outputs, o.list[1].text)
	}
	if len(d.outputs) == 0 {
		return derivation{}, errors.New("no outputs")
	}
	for _, v := range top.list[6].list {
		if len(v.list) != 2 {
			return derivation{}, errors.New("a variable that is no pair")
		}
		switch name, value := v.list[0].text, v.list[1].text; name {
		case "preferLocalBuild":
			d.local = d.local || value == "1"
		case "allowSubstitutes":
			d.local = d.local || value != "1"
		}
	}
	return d, nil
}

// A term is a string, or a list in () or [].
type term struct {
	text string
	list []term
}

type termParser struct{ rest string }

func (p *termParser) take(prefix string) bool {
	if len(p.rest) < len(prefix) || p.rest[:len(prefix)] != prefix {
		return false
	}
	p.rest = p.rest[len(prefix):]
	return true
}

func (p *termParser) term(depth int) (term, error) {
	if p.take(`"`) {
		return p.string()
	}
	return p.list(depth)
}

func (p *termParser) list(depth int) (term, error) {
	end := ")"
	switch {
	case depth > derivationDepth:
		return term{}, errors.New("too deep")
	case p.take("["):
		end = "]"
	case !p.take("("):
		return term{}, errors.New("neither a string nor a list")
	}
	var t term
	for !p.take(end) {
		if len(t.list) > 0 && !p.take(",") {
			return term{}, errors.New("a list without its end")
		}
		next, err := p.term(depth + 1)
		if err != nil {
			return term{}, err
		}
		t.list = append(t.list, next)
	}
	return t, nil
}

// string reads to the closing quote; a backslash escapes what follows, and n, r and t are what they are in C.
func (p *termParser) string() (term, error) {
	var text []byte
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return term{text: string(text)}, nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			switch c = p.rest[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
			text = append(text, c)
		default:
			text = append(text, c)
		}
	}
	return term{}, errors.New("a string without its end")
}
