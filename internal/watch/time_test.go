package watch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/terminal"
	"capd/pcap"
)

// inTurn makes a file of packets that came at odd times after each other, also
// before.
func inTurn(t *testing.T, begin time.Time) string {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet})
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	at := begin
	for _, d := range []time.Duration{0, time.Millisecond, 3*time.Hour + 4*time.Minute + 5*time.Second, -time.Minute, 1, time.Second - 1} {
		at = at.Add(d)
		frame := numbered(1)
		n, _ := enc.Encode(record, []pcap.Packet{{Data: frame, Length: uint32(len(frame)), Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}})
		b = append(b, record[:n]...)
	}
	path := filepath.Join(t.TempDir(), "in.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTimes: each form of -t is tcpdump's, in the local time of a place.
func TestTimes(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump: ", err)
	}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	in := inTurn(t, begin)
	for _, place := range []string{"UTC", "Europe/Berlin", "America/St_Johns"} {
		zone, err := time.LoadLocation(place)
		if err != nil {
			t.Skip("needs time zones: ", err)
		}
		for _, form := range []string{"", "-t", "-tt", "-ttt", "-tttt", "-ttttt"} {
			tcpdump := exec.Command("tcpdump", append(strings.Fields(form), "-n", "-r", in)...)
			tcpdump.Env = append(os.Environ(), "TZ="+place)
			var errs bytes.Buffer
			tcpdump.Stderr = &errs
			theirs, err := tcpdump.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &errs)
			}
			var out, said syncBuffer
			o := Options{Files: []string{in}, Snaplen: 1000, Style: Style{Stamp: Stamp(max(len(form)-1, 0)), Zone: zone}}
			err = Run(t.Context(), o, nil, &out, terminal.NewScreen(&said))
			times := func(lines, behind string) (all []string) {
				for line := range strings.Lines(lines) {
					before, _, _ := strings.Cut(line, behind)
					all = append(all, before)
				}
				return all
			}
			ours, want := times(out.String(), "10.0.0.1"), times(string(theirs), "IP ")
			if err != nil || len(ours) != 6 || !slices.Equal(ours, want) {
				t.Errorf("%s %s: %v, %q, tcpdump %q", place, form, err, ours, want)
			}
			notice := ""
			if zone != time.UTC && (form == "" || form == "-tttt") {
				notice = "capd: times are in local time, " + begin.In(zone).Format("MST (UTC-07:00)") + "; -u shows UTC\n"
			}
			if said.String() != notice {
				t.Errorf("%s %s: %q, want %q", place, form, said.String(), notice)
			}
		}
	}
}
