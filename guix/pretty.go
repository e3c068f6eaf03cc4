package guix

import (
	"slices"
	"strings"
)

// prettyWidth is how long a line may be before what is in it gets lines of its own.
const prettyWidth = 96

// pretty writes a form for a person, without hashes of the store, so that two can be compared line by line.
func (f form) pretty() string {
	var b strings.Builder
	f.lines(&b, 0)
	return b.String() + "\n"
}

// prettyAll writes forms one below the other, and notes which files of the store they name.
func prettyAll(forms []form, items map[string]string) []byte {
	var text []byte
	for _, f := range forms {
		text = append(text, f.pretty()...)
		f.items(items)
	}
	return text
}

func (f form) lines(b *strings.Builder, column int) {
	if b.Len() > textBytes { // hostile: it would not be shown anyway
		return
	}
	mark, f := f.mark()
	b.WriteString(mark)
	column += len(mark)
	if flat := f.write(nil, prettyWidth-column); len(flat) <= prettyWidth-column || !f.isList || len(f.list) == 0 {
		b.Write(f.write(nil, textBytes))
		return
	}
	b.WriteString(f.atom + "(")
	f.list[0].lines(b, column+1)
	column += 2
	for i := 1; i < len(f.list); i++ {
		b.WriteString("\n" + strings.Repeat(" ", column))
		part := f.list[i]
		if strings.HasPrefix(part.atom, "#:") && i+1 < len(f.list) { // a keyword and its value
			b.WriteString(part.atom + " ")
			i++
			f.list[i].lines(b, column+len(part.atom)+1)
			continue
		}
		part.lines(b, column)
	}
	b.WriteByte(')')
}

// write appends f on one line, but little more than most bytes.
func (f form) write(text []byte, most int) []byte {
	mark, f := f.mark()
	switch {
	case len(text) > most:
		return text
	case mark != "":
		return f.write(append(text, mark...), most)
	case f.str:
		return append(append(append(text, '"'), stringEscape.Replace(storeName(f.atom))...), '"')
	case !f.isList:
		return append(text, f.atom...)
	}
	text = append(append(text, f.atom...), '(') // the atom of a vector: #vu8
	for i, item := range f.list {
		if i > 0 {
			text = append(text, ' ')
		}
		text = item.write(text, most)
	}
	return append(text, ')')
}

var stringEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// same reports whether f and other are equal, hashes of the store included.
func (f form) same(other form) bool {
	return f.atom == other.atom && f.str == other.str && f.quoted == other.quoted && f.isList == other.isList && slices.EqualFunc(f.list, other.list, form.same)
}

// mark is how a quote is written, before what is quoted.
func (f form) mark() (string, form) {
	if f.quoted {
		f.quoted = false
		return "'", f
	}
	if len(f.list) == 2 {
		switch f.head() {
		case "quote":
			if datum := f.list[1]; !datum.isList && (datum.str || strings.HasPrefix(datum.atom, "#")) {
				return "", datum // Guix quotes more than it must
			}
			return "'", f.list[1]
		case "quasiquote":
			return "`", f.list[1]
		case "unquote":
			return ",", f.list[1]
		}
	}
	return "", f
}

// items are the store's files that f names, by their names without the hash.
func (f form) items(all map[string]string) {
	if f.str {
		for _, path := range storePath.FindAllString(f.atom, -1) {
			all[storeName(path)] = path
		}
	}
	for _, part := range f.list {
		part.items(all)
	}
}
