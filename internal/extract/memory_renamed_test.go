package extract

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"capd/flow"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// manyRegions is a file of several regions with one packet of the flow 10.0.0.2:1024 10.0.0.200:53 udp. Between its packets are
// statistics, as capd fills up what it writes from the ring.
func manyRegions(at int) []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	w := &plainWriter{enc: enc, record: make([]byte, enc.MaxRecord()), b: bytes.Clone(enc.Header())}
	for i := range 8 * flow.RegionSize / 1400 {
		frame := make([]byte, 1400)
		copy(frame, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 5, 106, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 200, 4, 0, 0, 53, 5, 86})
		if i == at {
			frame[29] = 2
		}
		w.packet(time.Unix(noonUnix, 0).Add(time.Duration(i)*time.Millisecond), frame, len(frame))
		if i%100 == 0 {
			w.b = append(w.b, block(binary.LittleEndian, 5, 0, 0, 0)...)
		}
	}
	return w.b
}

// growingFile makes such a file that is being recorded, in a directory that somebody has locked.
func growingFile(t *testing.T) (dir, path string, flows Flows) {
	t.Helper()
	dir = t.TempDir()
	lock, err := store.LockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Release() })
	name := store.Name{Interface: "eth0", Start: time.Unix(noonUnix, 0).UTC(), Sequence: 1, Format: pcap.PCAPNG}
	start := ledger.Start(ledger.Run{Software: "test"})
	f, err := ParseFlow("10.0.0.2:1024 10.0.0.200:53 udp")
	path = filepath.Join(dir, name.String())
	err = errors.Join(err, os.WriteFile(path+store.Partial, manyRegions(700), 0o600),
		os.Chtimes(path+store.Partial, time.Time{}, name.Start), // so that nobody waits for its line when it has ended
		os.WriteFile(filepath.Join(dir, ledger.FileName), start.AppendLine(nil, name.Start), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir, path, Flows{f}
}

// askFor asks for the flow, does something before the files are read, and checks that the packet is found. It returns how many bytes
// were read.
func askFor(t *testing.T, when string, m *Memory, by Recorders, dir string, flows Flows, before func()) int64 {
	t.Helper()
	q := Question{Directories: []string{dir}, Flows: flows, Memory: m, Until: time.Unix(noonUnix, 0).Add(time.Hour), Text: "capd extract", Software: "test"}
	plan, err := q.Plan(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before()
	}
	a, err := plan.Find(t.Context(), Output{To: new(bytes.Buffer), Format: pcap.PCAPNG})
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Missing {
		switch a.Missing[i].Cause {
		case CauseVanished, CauseTorn, CauseChanged, CauseUnreadable:
			t.Errorf("%s: %s", when, a.Missing[i].String())
		}
	}
	if a.Packets != 1 {
		t.Errorf("%s: %d packets", when, a.Packets)
	}
	return a.Read
}

// little fails if more than the region of the packet was read.
func little(t *testing.T, when string, read int64) {
	t.Helper()
	if read > flow.RegionSize+flow.RegionSize/4 {
		t.Errorf("%s: %d bytes were read", when, read)
	}
}

// TestMemoryStatistics: a region that has nothing but other flows and statistics is not read.
func TestMemoryStatistics(t *testing.T) {
	dir, _, flows := growingFile(t)
	m := new(Memory)
	defer m.Close()
	for _, when := range []string{"first", "second"} {
		little(t, when, askFor(t, when, m, flushing{}, dir, flows, nil))
	}
}

// asking has written all that came, and does something when it is asked what the ledger says, which is behind the listing.
type asking struct {
	flushing
	then func()
}

func (a asking) Ask(ctx context.Context, dir string, q ledger.Question) (*ledger.Answer, error) {
	a.then()
	return a.flushing.Ask(ctx, dir, q)
}

// TestMemoryRenamed: a file that ends while a question is asked is read by its regions, and so it is afterwards, until it has its table.
// Another file of its name is read as a whole.
func TestMemoryRenamed(t *testing.T) {
	for _, when := range []string{"listed", "planned", "replaced"} {
		dir, path, flows := growingFile(t)
		m := new(Memory)
		little(t, "before", askFor(t, "before", m, flushing{}, dir, flows, nil))
		end := func() {
			if err := os.Rename(path+store.Partial, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		switch when {
		case "listed":
			little(t, when, askFor(t, when, m, asking{then: end}, dir, flows, nil))
		case "planned":
			little(t, when, askFor(t, when, m, flushing{}, dir, flows, end))
		default:
			askFor(t, when, m, flushing{}, dir, flows, func() {
				if err := errors.Join(os.Remove(path+store.Partial), os.WriteFile(path, manyRegions(100), 0o600)); err != nil {
					t.Fatal(err)
				}
			})
			m.Close()
			continue
		}
		for range 2 {
			little(t, when+", afterwards", askFor(t, when, m, flushing{}, dir, flows, nil))
		}
		m.Close()
	}
}
