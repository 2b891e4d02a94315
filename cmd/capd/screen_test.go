package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"capd/internal/daemon"
)

// The summary says what nobody has counted, where there is a filter.
func TestSummaryOfFilter(t *testing.T) {
	const line = "unknown number of packets filtered"
	for _, filter := range []string{"", "tcp"} {
		var b bytes.Buffer
		newScreen(&b).summary([]daemon.Status{{Interface: "v0", Filter: filter}, {Interface: "v1"}}, time.Second)
		if strings.Contains(b.String(), line) != (filter != "") {
			t.Errorf("filter %q: %s", filter, &b)
		}
	}
}
