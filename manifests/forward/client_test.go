package forward

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

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
		says, err := AskForwarder(t.Context(), socket)
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
