package read

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

// TestNext: of the same interface and lane, whatever has become of it.
func TestNext(t *testing.T) {
	name := func(iface string, sequence uint64, lane int, state string) string {
		n := store.Name{Interface: iface, Start: time.Unix(int64(1e9+sequence), 0), Sequence: sequence, Lane: lane, Format: pcap.PCAPNG}
		return n.String() + state
	}
	others := []string{name("eth1", 6, 0, ""), name("eth0", 6, 1, ""), name("eth0", 4, 0, ""), "notes.txt", name("eth0", 6, 0, ".zst.tmp"), name("eth0", 6, 0, ".hold"), name("eth0", 6, 0, ".deleting")}
	for _, c := range []struct {
		there   []string // of eth0, as state by sequence
		want    string
		missing uint64
	}{
		{nil, "", 0},
		{[]string{name("eth0", 6, 0, ".partial")}, name("eth0", 6, 0, ".partial"), 0},
		{[]string{name("eth0", 7, 0, ".partial"), name("eth0", 6, 0, "")}, name("eth0", 6, 0, ""), 0},
		{[]string{name("eth0", 6, 0, ".zst"), name("eth0", 6, 0, ""), name("eth0", 6, 0, ".partial")}, name("eth0", 6, 0, ""), 0},
		{[]string{name("eth0", 6, 0, ".gz"), name("eth0", 7, 0, "")}, name("eth0", 6, 0, ".gz"), 0},
		{[]string{name("eth0", 6, 0, ".damaged"), name("eth0", 7, 0, "")}, name("eth0", 6, 0, ".damaged"), 0},
		{[]string{name("eth0", 9, 0, ""), name("eth0", 10, 0, ".partial")}, name("eth0", 9, 0, ""), 3},
	} {
		dir := t.TempDir()
		for _, s := range append(c.there, others...) {
			if err := os.WriteFile(filepath.Join(dir, s), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, state := range []string{"", ".partial", ".zst"} {
			got, err := Next(filepath.Join(dir, name("eth0", 5, 0, state)))
			if want := (Successor{"", c.missing}); c.want != "" {
				want.Path = filepath.Join(dir, c.want)
				if err != nil || got != want {
					t.Errorf("%q: %+v, %v", c.there, got, err)
				}
			} else if err != nil || got != want {
				t.Errorf("%q: %+v, %v", c.there, got, err)
			}
		}
	}
	if _, err := Next("x.pcap.partial"); err == nil {
		t.Error("a name that is not one of capd's")
	}
}
