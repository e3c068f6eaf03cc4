package forward

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// The agent and the forwarder that runs may be of different versions, so the words on the wire stay as they are.
func TestTheWordsOnTheWireStay(t *testing.T) {
	const asked = `{"table":{"doors":[{"listen":":80","backend":{"address":"127.1.2.3:61000","proxy":"v2"}},{"listen":":81"}]}}` + "\n"
	const answered = `{"error":"no","doors":[{"listen":":80","error":"in use","held":1,"taken":3,"lost":2}],"links":{"127.1.2.3:61000":2}}` + "\n"
	var said strings.Builder
	table := Table{[]Listener{{":80", Backend{"127.1.2.3:61000", "v2"}}, {Listen: ":81"}}}
	report := Report{"no", []ListenerReport{{":80", "in use", 1, 3, 2}}, map[string]int{"127.1.2.3:61000": 2}}
	if err := errors.Join(writeLine(&said, request{&table}), writeLine(&said, report)); err != nil {
		t.Fatal(err)
	}
	if got := said.String(); got != asked+answered {
		t.Errorf("got  %s\nwant %s", got, asked+answered)
	}
}

// FuzzForwarderReport: the forwarder is the pod user's, and may report anything.
func FuzzForwarderReport(f *testing.F) {
	for _, line := range []string{
		`{"doors":[{"listen":":80","held":1,"taken":3}],"links":{"127.1.2.3:61000":2}}`, `{"error":"no \u001b[2J"}`, `{"doors":[{"listen":"\u202e","error":"in use"}]}`, "null", `{"links":{"":-9223372036854775808,"a":9223372036854775807}}`, "[]", "{",
	} {
		f.Add([]byte(line + "\n"))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, said []byte) {
		var r Report
		if err := readLine(bufio.NewReader(strings.NewReader(string(said))), &r); err != nil {
			return // nothing is made of that
		}
		socket := filepath.Join(dir, "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write(said)
		}()
		says, err := NewClient(socket).Describe(t.Context())
		if err != nil && (err.Error() == "" || len(err.Error()) > 16<<10) {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if len(says) > 100 {
			t.Errorf("it is said to do %q", says)
		}
		if err == nil && r.Error != "" {
			t.Error("a refusal is no error")
		}
	})
}
