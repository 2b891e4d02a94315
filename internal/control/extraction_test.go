package control

import (
	"os"
	"slices"
	"testing"
)

// TestCasesOfClients: who holds and releases for a case is the user that the system knows.
func TestCasesOfClients(t *testing.T) {
	f := &fake{}
	c := client(t, start(t, f))
	s := Selection{Directory: "/d", Files: []string{"x"}, Case: &Case{Name: "a", User: "alice", UID: 12345}}
	if _, err := c.Hold(t.Context(), s); err != nil {
		t.Error(err)
	}
	if _, err := c.Release(t.Context(), Selection{Case: &Case{Name: "a"}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Hold(t.Context(), Selection{Last: "1m"}); err != nil {
		t.Error(err)
	}
	if len(f.calls) != 3 {
		t.Fatalf("%+v", f.calls)
	}
	for i, want := range []*Case{{Name: "a", User: "alice", UID: os.Getuid()}, {Name: "a", UID: os.Getuid()}, nil} {
		got := f.calls[i].(Selection).Case
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// TestHoldsWarning: what is wrong with held files is said in a line.
func TestHoldsWarning(t *testing.T) {
	for want, h := range map[string]Holds{
		"": {Bytes: 5, Warn: 9},
		"held files take 10 B, more than hold_warn: 9 B":                                                {Bytes: 10, Warn: 9, Over: true},
		"held files of eth0 take more than hold_warn of its limit":                                      {Bytes: 10, Over: true, Interface: "eth0"},
		"held files, 10 B, keep the limit count from being met: it deletes all other files that it may": {Bytes: 10, Limit: "count", Over: true},
	} {
		if got := h.Warning(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFlushAndExtracted: the user of a client is the one that the system knows, whatever the client says.
func TestFlushAndExtracted(t *testing.T) {
	f := &fake{}
	c := client(t, start(t, f))
	if whole, err := c.Flush(t.Context()); err != nil || !slices.Equal(whole, []Whole{{"/d/eth0.pcapng.partial", 7}}) {
		t.Error(whole, err)
	}
	e := Extraction{Directory: "/d", User: "alice", Question: "capd extract", Packets: 1, Bytes: 2, UID: 12345}
	if err := c.Extracted(t.Context(), e); err != nil {
		t.Error(err)
	}
	e.UID = os.Getuid()
	if !slices.Equal(f.calls, []any{"flush", e}) {
		t.Errorf("%+v", f.calls)
	}
}
