package writer

import (
	"os"
	"path/filepath"
	"testing"

	"capd/pcap"
)

// TestSalvageTellsReads: the bar of salvage comes to its end.
func TestSalvageTellsReads(t *testing.T) {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet})
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for len(b) < 3<<20 {
		n, _ := enc.Encode(record, []pcap.Packet{{Data: make([]byte, 1400), Length: 1400, Sec: 1}})
		b = append(b, record[:n]...)
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	reads, told := 0, 0
	read := func(n int) { reads, told = reads+1, told+n }
	if _, err := Salvage(path, SalvagedPath(path), read); err != nil || told != 2*len(b) || reads < 6 {
		t.Errorf("%v; told of %d bytes in %d reads, twice the file is %d", err, told, reads, 2*len(b))
	}
	reads, told = 0, 0
	if _, err := SalvageInPlace(path, read); err != nil || told != len(b) || reads < 3 {
		t.Errorf("%v; told of %d bytes in %d reads, the file is %d", err, told, reads, len(b))
	}
}

func TestSalvagedPath(t *testing.T) {
	for path, want := range map[string]string{
		"a.pcap": "a.salvaged.pcap", "d.x/a.pcapng.partial": "d.x/a.salvaged.pcapng", "a.pcap.damaged": "a.salvaged.pcap", "a": "a.salvaged", "a.tmp": "a.salvaged.tmp",
	} {
		if got := SalvagedPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
