package daemon

import (
	"io"
	"os"
	"slices"
	"testing"

	"capd/capture"
	"capd/config"
	"capd/ledger"
	"capd/pcap"
)

// TestAnyNames: each file of all interfaces says by itself which interface each packet is from, by the name that it had then.
func TestAnyNames(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1, v2 := n.add("v1"), n.add("v2")
		r := newRig(t, n, nil, capture.Any)
		r.start(r.options())
		r.await("start", func() bool { return r.status(capture.Any).State == Recording })
		sent := uint64(0)
		send := func(w wire) {
			w.Send(appendFrame(nil, 1, sent))
			sent++
			r.await("frame", func() bool { return r.status(capture.Any).Writer.Accepted == sent })
		}
		send(v1)
		send(v2)
		send(v1)
		v1.Rename("v9")
		send(v1)
		r.d.Rotate()
		r.await("rotation", func() bool { return r.status(capture.Any).Writer.Files == 1 })
		send(v2)
		r.end()
		files := r.files(capture.Any)
		if len(files) != 2 {
			t.Fatalf("files %q", files)
		}
		for i, want := range [][]string{{"v1", "v2", "v1", "v9"}, {"v2"}} {
			if got := namesIn(t, files[i]); !slices.Equal(got, want) {
				t.Errorf("file %d: packets of %q, want %q", i, got, want)
			}
		}
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil || e.Kind == ledger.KindFile && e.Link != "MIXED" {
				t.Errorf("%+v, %v", e, err)
			}
		}
	})
}

// namesIn returns the name of the interface of each packet.
func namesIn(t *testing.T, path string) []string {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r, err := pcap.NewReader(h)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for {
		if _, err := r.Next(); err == io.EOF {
			return names
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, r.Interface().Name)
	}
}

// TestAnyInPCAP: a pcap file has one link type for all packets, one that the programs know that read the format.
func TestAnyInPCAP(t *testing.T) {
	for format, want := range map[string]pcap.LinkType{config.FormatPcap: pcap.LinkTypeLinuxSLL2, config.FormatPcapMicro: pcap.LinkTypeLinuxSLL} {
		onFake(t, func(t *testing.T, n network) {
			v1 := n.add("v1")
			r := newRig(t, n, func(c *config.Config) { c.Format = format }, capture.Any)
			r.start(r.options())
			r.await("start", func() bool { return r.status(capture.Any).State == Recording })
			v1.Send(appendFrame(nil, 1, 0))
			r.await("frame", func() bool { return r.status(capture.Any).Writer.Accepted == 1 })
			r.end()
			h, err := os.Open(r.files(capture.Any)[0])
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			p, err := pcap.NewReader(h)
			if err != nil || p.Interface().LinkType != want {
				t.Errorf("%s: link type %v, %v; want %v", format, p.Interface().LinkType, err, want)
			}
		})
	}
}
