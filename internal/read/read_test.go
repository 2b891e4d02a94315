package read

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/hint"
	"capd/pcap"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// drain reads to the end, and returns how many packets there were.
func drain(f *File) (n int, err error) {
	for ; err == nil; n++ {
		_, err = f.Next()
	}
	return n - 1, err
}

func compress(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(b)
	g.Close()
	return map[string][]byte{"": b, ".zst": z.EncodeAll(b, nil), ".gz": gz.Bytes()}
}

// TestRead: whatever the compression, the same packets come, and a file that is cut names itself and what was read of it.
func TestRead(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		whole, _ := recordFile(format, slices.Repeat([]int{60}, 1000)...)
		for ext, b := range compress(t, whole) {
			path := filepath.Join(t.TempDir(), "x"+format.Ext()+ext)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			counted := 0
			f, err := Open(path, Options{Through: func(src io.Reader) io.Reader { return counting{src, &counted} }})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := drain(f); n != 1000 || err != io.EOF || f.Seen() != 1000 || f.Format() != format || counted != len(b) || f.Size() != int64(len(b)) {
				t.Errorf("%s: %d packets, %v, %d bytes of %d", path, n, err, counted, len(b))
			}
			if target, err := New("pipe", bytes.NewReader(b), Options{}).Target(); err != nil || pcap.LinkType(target.LinkType) != pcap.LinkTypeEthernet {
				t.Errorf("%s: %v, %v", path, target, err)
			}
			f.Close()
			n, err := drain(New("pipe", bytes.NewReader(b[:len(b)-10]), Options{}))
			if !errors.Is(err, io.ErrUnexpectedEOF) || ext == "" && !strings.HasPrefix(err.Error(), "read pipe: after 999 packets: ") {
				t.Errorf("%s, cut: %d packets, %v", path, n, err)
			}
		}
	}
}

type counting struct {
	io.Reader
	n *int
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	*c.n += n
	return n, err
}

// TestOpenHints: what can't be opened says where it went, or what else to name.
func TestOpenHints(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.pcap.zst"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "a.pcap.partial"): "it is finished by now: " + filepath.Join(dir, "a.pcap.zst"),
		filepath.Join(dir, "b.pcap.partial"): "",
		filepath.Join(dir, "a.pcap.hold"):    "",
		dir:                                  "name a capture file in it",
	} {
		_, err := Open(path, Options{})
		if got := strings.Join(hint.Of(err), "\n"); err == nil || !errors.As(err, new(*fs.PathError)) || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %v, %q, want %q", path, err, got, want)
		}
	}
}

// TestFollowFile: a file that grows is read until it has another name.
func TestFollowFile(t *testing.T) {
	b, _ := recordFile(pcap.PCAPNG, slices.Repeat([]int{60}, 10)...)
	path := filepath.Join(t.TempDir(), "x.pcapng.partial")
	if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := Open(path, Options{Follow: ctx})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	h, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Write(b[len(b)/2:])
	if err := errors.Join(err, h.Close(), os.Rename(path, strings.TrimSuffix(path, ".partial"))); err != nil {
		t.Fatal(err)
	}
	if n, err := drain(f); n != 9 || err != io.EOF {
		t.Errorf("%d packets more, %v", n, err)
	}
}

// FuzzNext: whatever the bytes are, compressed or not, reading ends, and with an error that names the file.
func FuzzNext(f *testing.F) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		whole, _ := recordFile(format, 60, 61)
		f.Add(whole)
		z, err := zstd.NewWriter(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(z.EncodeAll(whole, nil))
		var gz bytes.Buffer
		g := gzip.NewWriter(&gz)
		_, _ = g.Write(whole)
		g.Close()
		f.Add(gz.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file := New("x", io.LimitReader(bytes.NewReader(b), 1<<20), Options{})
		for n := 0; ; n++ {
			if _, err := file.Next(); err != nil {
				if err != io.EOF && !strings.HasPrefix(err.Error(), "read x: after ") || file.Seen() != uint64(n) {
					t.Errorf("%v after %d packets", err, n)
				}
				return
			}
			if n > 1<<20 {
				return // a small file may be many packets, compressed
			}
		}
	})
}
