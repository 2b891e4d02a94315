package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/daemon"
	"capd/ledger"
)

// The summary, the status and the verdict say what nobody has counted, where
// there is a filter.
func TestUnknownFiltered(t *testing.T) {
	for _, filter := range []string{"", "tcp"} {
		for name, write := range map[string]func(w io.Writer) error{
			"summary": func(w io.Writer) error {
				_, err := io.WriteString(w, summary([]daemon.Status{{Interface: "v0", Filter: filter}, {Interface: "v1"}}, time.Second))
				return err
			},
			"status": func(w io.Writer) error {
				return printStatus(w, &control.Status{Interfaces: []control.Interface{{Name: "v0", Filter: filter}, {Name: "v1"}}}, nil)
			},
			"verdict": func(w io.Writer) error {
				v := ledger.Verdict{Interface: "v0"}
				if filter != "" {
					v.Filters = []string{filter}
				}
				return printVerdict(w, &v)
			},
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Error(err)
			}
			if strings.Contains(b.String(), "unknown") != (filter != "") {
				t.Errorf("%s with filter %q: %s", name, filter, &b)
			}
		}
	}
}
