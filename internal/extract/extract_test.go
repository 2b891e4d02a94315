package extract

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capd/internal/hint"
	"capd/internal/read"
	"capd/pcap"
)

// frames makes a file of Ethernet frames whose type counts from 0.
func frames(format pcap.Format, link pcap.LinkType, n int) []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: format, LinkType: link, Interface: "eth0"})
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for i := range n {
		data := make([]byte, 1000)
		data[12], data[13] = byte(i>>8), byte(i)
		written, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: 1000, Sec: 1}})
		b = append(b, record[:written]...)
	}
	return b
}

// run copies files.
func run(c *Copy, files ...[]byte) error {
	for _, b := range files {
		if err := c.Add(read.New("in", bytes.NewReader(b), read.Options{})); err != nil {
			return c.Close(err)
		}
	}
	return c.Close(nil)
}

// torn returns a file without its last byte.
func torn(b []byte) []byte { return b[:len(b)-1] }

// TestCopy: of more packets than are written at a time, those that pass are in the new file, in the format of the old.
func TestCopy(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		path := filepath.Join(t.TempDir(), "out")
		c := Copy{Filter: read.NewFilter("ether[12:2] >= 1000")}
		if err := c.Create(path); err != nil {
			t.Fatal(err)
		}
		if err := run(&c, frames(format, pcap.LinkTypeEthernet, 4000)); err != nil || c.Packets != 4000 || c.Passed != 3000 {
			t.Fatalf("%d of %d, %v", c.Passed, c.Packets, err)
		}
		out, err := read.Open(path, read.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; ; n++ {
			p, err := out.Next()
			if err == io.EOF {
				break
			}
			if at := int(p.Data[12])<<8 | int(p.Data[13]); err != nil || at != 1000+n {
				t.Fatalf("packet %d is %d, %v", n, at, err)
			}
		}
		if out.Close(); n != 3000 || out.Format() != format {
			t.Errorf("%v: %d packets in %v", format, n, out.Format())
		}
	}
}

// TestCopyFails: nothing is replaced, and no empty file stays.
func TestCopyFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	for what, c := range map[string]struct {
		in   []byte
		expr string
		want string
	}{
		"no capture file":  {[]byte("this is no capture file"), "", "read in: after 0 packets: "},
		"no packet passes": {torn(frames(pcap.PCAPNG, pcap.LinkTypeEthernet, 5)), "ip6", "read in: after 4 packets: "},
		"expression":       {frames(pcap.PCAP, pcap.LinkTypeEthernet, 1), "tcp prot", "filter in: after 1 packet: compile filter: offset 4"},
	} {
		k := Copy{Filter: read.NewFilter(c.expr)}
		if err := k.Create(path); err != nil {
			t.Fatal(err)
		}
		err := run(&k, c.in)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: a file is left: %v", what, err)
		}
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{path: "no file is replaced", filepath.Join(dir, "no", "out"): "create the directory"} {
		err := (&Copy{Filter: read.NewFilter("")}).Create(where)
		if got := strings.Join(hint.Of(err), "\n"); err == nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %v, %q", where, err, got)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestRootCopiesForOwner: what root copies into the directory of another user is that user's.
func TestRootCopiesForOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12346); err != nil {
		t.Skipf("no other users here: %v", err)
	}
	path := filepath.Join(dir, "copy")
	if err := (&Copy{Filter: read.NewFilter("")}).Create(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != 12345 {
		t.Errorf("%+v, %v", info, err)
	}
}
