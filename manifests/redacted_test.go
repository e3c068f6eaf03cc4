package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// However it is printed, also with a wrong verb and from within an unexported field, a secret stays one.
func TestSecretsArePrintedByNobody(t *testing.T) {
	const secret = "hunter2"
	object := &Object{Kind: "Secret", Name: "key", Doc: redact(map[string]any{"data": secret})}
	hidden := struct{ inside Redacted }{object.Doc}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "doc", object.Doc, "hidden", hidden, "object", *object)
	printed := []string{log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		printed = append(printed, fmt.Sprintf(verb, object.Doc), fmt.Sprintf(verb, *object), fmt.Sprintf(verb, hidden), fmt.Sprintf(verb, &hidden))
	}
	if b, err := json.Marshal(object); err == nil {
		t.Errorf("marshalled to %s", b)
	}
	for _, p := range printed {
		if strings.Contains(p, secret) || strings.Contains(p, fmt.Sprintf("%x", secret)) {
			t.Errorf("printed: %s", p)
		}
	}
	if object.Doc.Reveal()["data"] != secret {
		t.Error("Reveal doesn't")
	}
}
