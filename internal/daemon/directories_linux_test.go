package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"

	"golang.org/x/sys/unix"
)

// recordings makes a directory as an earlier run left it: two finished files,
// of which the ledger has one, an unfinished file, and three ledgers.
func recordings(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := ledger.Open(dir, ledger.Options{RotateSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	name := func(sequence uint64) store.Name {
		return store.Name{Interface: "eth0", Start: begin, Sequence: sequence, Format: pcap.PCAP}
	}
	write := func(file string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), captured(begin, 60), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	run := ledger.Start(ledger.Run{Software: "capd", Boot: boot(), PID: 1})
	run.Time = begin
	listed := ledger.File{Name: name(1), Begin: begin, End: begin.Add(time.Second), Clean: true}
	for _, e := range []ledger.Entry{run, listed.Entry(), ledger.Hold(name(1)), ledger.Release(name(1)), ledger.Hold(name(1)), ledger.Release(name(1))} {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	write(name(1).String())
	write(name(2).String())
	write(name(3).String() + store.Partial)
	return dir
}

// captured returns a file with one packet of n bytes.
func captured(at time.Time, n int) []byte {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet, Snaplen: 262144, Interface: "eth0"})
	record := make([]byte, enc.MaxRecord())
	size, _ := enc.Encode(record, []pcap.Packet{{Sec: uint32(at.Unix()), Length: uint32(n), Data: make([]byte, n)}})
	return append(slices.Clone(enc.Header()), record[:size]...)
}

// openRecordings opens the directory in the same way as the daemon at its
// start.
func openRecordings(t *testing.T, dir, toml string) *directories {
	t.Helper()
	c, err := config.Parse("capd.toml", fmt.Appendf(nil, "directory = %q\n%s\n[[interface]]\nname = \"eth0\"\n", dir, toml))
	if err != nil {
		t.Fatal(err)
	}
	all, err := openDirectories(c, &Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { all.close(context.Background()) })
	return all
}

// TestLedgerIsReadOnce: at its start the daemon reads each ledger once, and the
// task that deletes old ledgers reads none again.
func TestLedgerIsReadOnce(t *testing.T) {
	dir := recordings(t)
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	all := openRecordings(t, dir, "")
	all.at(dir).sweep(all.log)
	got := make(map[string]int) // files that were opened for reading only
	for _, name := range closedNames(t, watch) {
		if strings.HasPrefix(name, "ledger") {
			got[name]++
		}
	}
	if want := map[string]int{"ledger-000001.jsonl": 1, "ledger-000002.jsonl": 1, "ledger.jsonl": 1}; !maps.Equal(got, want) {
		t.Errorf("ledgers read: %v, want %v", got, want)
	}
	lines := make(map[string]int)
	all.close(context.Background())
	for e, err := range ledger.Read(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == ledger.KindFile {
			lines[e.Name]++
		}
	}
	if len(lines) != 3 {
		t.Errorf("lines of files: %v", lines)
	}
}

// closedNames returns the names in the pending inotify events.
func closedNames(t *testing.T, watch int) (names []string) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	const header = int(unsafe.Sizeof(unix.InotifyEvent{}))
	for b := buf[:n]; len(b) >= header; {
		size := int(binary.NativeEndian.Uint32(b[header-4:])) // InotifyEvent.Len
		names = append(names, string(bytes.TrimRight(b[header:header+size], "\x00")))
		b = b[header+size:]
	}
	return names
}

// TestDeletedHasSize: the line of a file that a limit deleted has the file's
// size.
func TestDeletedHasSize(t *testing.T) {
	dir := recordings(t)
	all := openRecordings(t, dir, "retain_count = 1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all.retain(ctx)
	want := uint64(len(captured(time.Now(), 60)))
	for deleted := 0; deleted < 2; {
		deleted = 0
		for e, err := range ledger.Read(dir, func(e *ledger.Entry) bool { return e.Kind == ledger.KindDeleted }) {
			if err != nil {
				continue // the line is not complete yet
			}
			if deleted++; e.Size != want || e.Limit != "count" {
				t.Fatalf("%+v, want %d bytes", e, want)
			}
		}
		time.Sleep(time.Millisecond) // the test's timeout is the limit
	}
}
