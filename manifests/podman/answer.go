package podman

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"example.org/collie/agent/foreign"
)

// An answer of the API is as large as the pod user likes, and a small one may become a large value: 9 MB of `[{},{},…]` are
// three million containers, and one port mapping of a few bytes may stand for 65,536 ports. So what an answer becomes is
// counted, and what a container says is cut while it is read.
const (
	mostAnswered = 8 << 20   // bytes of an answer in JSON
	mostElements = 5_000     // of its outermost list
	mostMarks    = 400_000   // commas, colons and opening brackets, of which each value costs one at least
	mostPorts    = 1 << 17   // that all containers together have published
	mostKept     = 64 << 10  // bytes of a log or of an output: the last ones
	mostStreamed = 256 << 20 // bytes that are read to get at them
)

// decode reads a JSON answer into out. A list is read thing by thing, so that its text is never in memory as a whole.
func decode(body io.Reader, out any) error {
	from := json.NewDecoder(&meter{from: io.LimitReader(body, mostAnswered+1)})
	var err error
	if list := reflect.ValueOf(out).Elem(); list.Kind() == reflect.Slice {
		err = decodeList(from, list)
	} else {
		err = from.Decode(out)
	}
	if of := new(json.SyntaxError); errors.As(err, &of) {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	return err
}

func decodeList(from *json.Decoder, list reflect.Value) error {
	begin, err := from.Token()
	if err != nil || begin == nil { // null is an empty list
		return err
	}
	if begin != json.Delim('[') {
		return fmt.Errorf("it is no list, but begins with %v", begin)
	}
	for from.More() {
		thing := reflect.New(list.Type().Elem())
		if err := from.Decode(thing.Interface()); err != nil {
			return err
		}
		list.Set(reflect.Append(list, thing.Elem()))
	}
	_, err = from.Token()
	return err
}

// A meter fails once the JSON that goes through it would become too large a value. Of adjacent blanks it passes one.
type meter struct {
	from                     io.Reader
	bytes                    int64
	depth, elements, marks   int
	inString, afterBackslash bool
	blank                    bool // so was the last byte
}

func (m *meter) Read(into []byte) (int, error) {
	n, err := m.from.Read(into)
	kept := into[:0]
	for _, b := range into[:n] {
		blank := !m.inString && (b == ' ' || b == '\n' || b == '\r' || b == '\t')
		if !blank || !m.blank {
			kept = append(kept, b)
		}
		m.blank = blank
		m.see(b)
	}
	switch m.bytes += int64(n); {
	case m.bytes > mostAnswered:
		return 0, fmt.Errorf("it has more than %d MiB", mostAnswered>>20)
	case m.elements > mostElements:
		return 0, fmt.Errorf("it lists more than %d things", mostElements)
	case m.marks > mostMarks:
		return 0, fmt.Errorf("it holds more than %d values", mostMarks/2)
	}
	if len(kept) == 0 && n > 0 && err == nil {
		return m.Read(into)
	}
	return len(kept), err
}

func (m *meter) see(b byte) {
	switch {
	case m.afterBackslash:
		m.afterBackslash = false
	case m.inString:
		m.afterBackslash = b == '\\'
		m.inString = b != '"'
	case b == '"':
		m.inString = true
	case b == '{', b == '[':
		m.depth++
		m.marks++
	case b == '}', b == ']':
		m.depth--
	case b == ',', b == ':':
		m.marks++
		if m.depth == 1 && b == ',' {
			m.elements++
		}
	}
}

// countPorts refuses containers with more published ports than a machine can have.
func countPorts(all []container) error {
	sum := 0
	for _, c := range all {
		for _, m := range c.Ports {
			if m.Range < 0 || m.Range > 1<<16 {
				return fmt.Errorf("container %.12s publishes a range of %d ports", c.ID, m.Range)
			}
			if sum += max(1, m.Range); sum > mostPorts {
				return fmt.Errorf("its containers publish more than %d ports", mostPorts)
			}
		}
	}
	return nil
}

// said keeps the end of what a container wrote. It takes a log apart: frames with a head of 8 bytes, of which the last four
// are the length of what follows; or plain text, where the container has a terminal.
type said struct {
	text  []byte
	head  []byte // of a frame that has begun
	left  uint32 // bytes of the present frame that are still to come
	plain bool
}

func (s *said) Write(stream []byte) (int, error) {
	for rest := stream; len(rest) > 0; {
		switch {
		case s.plain:
			s.keep(rest)
			rest = nil
		case s.left > 0:
			n := min(uint64(s.left), uint64(len(rest)))
			s.keep(rest[:n])
			s.left -= uint32(n)
			rest = rest[n:]
		default:
			n := min(8-len(s.head), len(rest))
			s.head, rest = append(s.head, rest[:n]...), rest[n:]
			s.begin()
		}
	}
	return len(stream), nil
}

// begin begins a frame once its head is complete.
func (s *said) begin() {
	for i, b := range s.head {
		if i == 0 && b > 2 || i > 0 && i < 4 && b != 0 {
			s.plain = true
			s.keep(s.head)
			return
		}
	}
	if len(s.head) == 8 {
		s.left = binary.BigEndian.Uint32(s.head[4:])
		s.head = s.head[:0]
	}
}

func (s *said) keep(text []byte) {
	if s.text = append(s.text, text...); len(s.text) > 2*mostKept {
		s.text = append(s.text[:0], s.text[len(s.text)-mostKept:]...)
	}
}

// lines returns the last lines, each bounded.
func (s *said) lines(most int) []string {
	text := s.text
	if !s.plain {
		text = append(text, s.head...) // too short to be a frame
	}
	text = text[max(0, len(text)-mostKept):]
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = foreign.Line(line, mostLine); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-most):]
}
