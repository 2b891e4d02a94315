package systemd_test

import (
	"os"
	"strings"
	"testing"
)

// TestInstanceIsTheSame: the two units differ only in names.
func TestInstanceIsTheSame(t *testing.T) {
	if _, err := os.Stat("capd.service"); err != nil {
		t.Skip("the units are not beside the test")
	}
	settings := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "[Unit]\n")
		if !ok {
			t.Fatalf("%s has no [Unit]", name)
		}
		return rest
	}
	want := strings.NewReplacer(
		"Packet recorder", "Packet recorder (%i)", "capd/capd.toml", "capd/%i.toml", "%t/capd/", "%t/capd-%i/",
		"\nStateDirectory=capd\n", "\nStateDirectory=capd/%i\n", "\nRuntimeDirectory=capd\n", "\nRuntimeDirectory=capd-%i\n",
	).Replace(settings("capd.service"))
	if got := settings("capd@.service"); got != want {
		t.Errorf("capd@.service is\n%s\nwant\n%s", got, want)
	}
}
