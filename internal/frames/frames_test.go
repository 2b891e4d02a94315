package frames

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var kinds = map[string]func(io.Writer, int) (*Writer, error){".zst": NewZstd, ".gz": NewGzip}

// content is what compresses to about a half.
func content(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		if i/100%2 == 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func packed(t testing.TB, make func(io.Writer, int) (*Writer, error), b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := make(&out, 1)
	if err != nil {
		t.Fatal(err)
	}
	for c := range slices.Chunk(b, 300_001) {
		if n, err := w.Write(c); n != len(c) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpacked(b []byte) ([]byte, error) {
	r, err := NewReader(b[:min(4, len(b))], bytes.NewReader(b[min(4, len(b)):]))
	if r == nil || err != nil {
		return nil, errors.Join(err, errNoFrames)
	}
	return io.ReadAll(r)
}

// TestFrames: what is written is read, whole and in parts, by this package and by the tools.
func TestFrames(t *testing.T) {
	tools := map[string][]string{".zst": {"zstd", "-dqc"}, ".gz": {"gzip", "-dc"}}
	for ext, make := range kinds {
		for _, n := range []int{0, 1, 300, 70_000, Size - 1, Size, Size + 1, 3*Size + 12345} {
			t.Run(fmt.Sprint(ext, n), func(t *testing.T) {
				want := content(n)
				b := packed(t, make, want)
				if got, err := unpacked(b); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of %d: %v", len(got), n, err)
				}
				path := filepath.Join(t.TempDir(), "content"+ext)
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				tool := tools[ext]
				out, err := exec.Command(tool[0], append(tool[1:], path)...).Output()
				if errors.Is(err, exec.ErrNotFound) {
					t.Skip("needs " + tool[0])
				}
				if err != nil || !bytes.Equal(out, want) {
					t.Errorf("%s: %d bytes of %d: %v", tool[0], len(out), n, err)
				}
				f, ok := Open(bytes.NewReader(b))
				if !ok {
					if n > 0 { // no capture file is empty
						t.Fatal("no frames")
					}
					return
				}
				r := rand.New(rand.NewPCG(3, 4))
				for range 10 {
					at := r.IntN(n + 10)
					part := slices.Repeat([]byte{9}, 1+r.IntN(2*Size))
					got, err := f.ReadAt(part, int64(at))
					if size := min(max(n-at, 0), len(part)); got != size || !bytes.Equal(part[:got], want[min(at, n):][:got]) || (err == io.EOF) != (size < len(part)) {
						t.Fatalf("%d bytes at %d, want %d: %v", got, at, size, err)
					}
				}
			})
		}
	}
}

// TestDamage: a byte that has changed is found before anything of its frame is given, and a file that is cut is not whole.
func TestDamage(t *testing.T) {
	for ext, make := range kinds {
		want := content(2*Size + 5)
		b := packed(t, make, want)
		r := rand.New(rand.NewPCG(5, 6))
		for range 25 {
			bad := slices.Clone(b)
			at := 40 + r.IntN(len(b)-40) // behind what tells the format
			if r.IntN(4) == 0 {
				bad = bad[:at]
			} else {
				bad[at] ^= 1 << r.IntN(8)
			}
			got, err := unpacked(bad)
			if !bytes.HasPrefix(want, got) {
				t.Errorf("%s: byte %d: wrong content: %v", ext, at, err)
			}
			if err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s: byte %d: %d bytes without an error", ext, at, len(got))
			}
			f, ok := Open(bytes.NewReader(bad))
			if !ok {
				continue
			}
			part := slices.Repeat([]byte{9}, 1000)
			for from := 0; from < len(want); from += 200_000 {
				n, err := f.ReadAt(part, int64(from))
				if !bytes.Equal(part[:n], want[from:][:n]) || err == nil && n < len(part) {
					t.Fatalf("%s: byte %d: wrong content at %d: %v", ext, at, from, err)
				}
				if _, again := f.ReadAt(part, int64(from)); fmt.Sprint(again) != fmt.Sprint(err) {
					t.Fatalf("%s: byte %d: at %d: %v, and then %v", ext, at, from, err, again)
				}
			}
		}
	}
}

// TestOthers: files that other programs have compressed are read as they come, also behind frames; parts of them can't be read.
func TestOthers(t *testing.T) {
	want := content(2*Size + 100)
	var z, g bytes.Buffer
	enc, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{enc, gzip.NewWriter(&g)} {
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	skipped := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, 1, 2, 3)
	for name, b := range map[string][]byte{
		"zstd": z.Bytes(), "gzip": g.Bytes(), "skippable": slices.Concat(skipped, z.Bytes()),
	} {
		if got, err := unpacked(b); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes: %v", name, len(got), err)
		}
		if _, ok := Open(bytes.NewReader(b)); ok {
			t.Errorf("%s: frames", name)
		}
		if got, err := unpacked(b[:len(b)-1]); err == nil {
			t.Errorf("%s: cut: %d bytes", name, len(got))
		}
	}
	for name, b := range map[string][]byte{
		"zstd": slices.Concat(packed(t, NewZstd, want), z.Bytes()), "gzip": slices.Concat(packed(t, NewGzip, want), g.Bytes()),
	} {
		if got, err := unpacked(b); err != nil || !bytes.Equal(got, append(slices.Clone(want), want...)) {
			t.Errorf("%s behind frames: %d bytes: %v", name, len(got), err)
		}
		f, _ := Open(bytes.NewReader(b))
		if n, err := f.ReadAt(make([]byte, 10), int64(len(want))); n != 0 || err != errNoFrames {
			t.Errorf("%s behind frames: %d bytes: %v", name, n, err)
		}
	}
	if r, err := NewReader([]byte("abcd"), bytes.NewReader(nil)); r != nil || err != nil {
		t.Error("what is not compressed:", err)
	}
}

// FuzzFrames: parts are what the whole is, and hostile bytes take bounded memory.
func FuzzFrames(f *testing.F) {
	for _, make := range kinds {
		for _, n := range []int{0, 10, 2000} {
			b := packed(f, make, content(n))
			f.Add(b, int64(n/2))
			f.Add(slices.Concat(packed(f, make, content(300)), b), int64(n/2+300))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		if at < 0 || at > 16<<20 {
			return
		}
		file, ok := Open(bytes.NewReader(b))
		if !ok {
			return
		}
		part := make([]byte, 100)
		n, _ := file.ReadAt(part, at)
		if n == 0 {
			return
		}
		r, err := NewReader(b[:4], bytes.NewReader(b[4:]))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(io.LimitReader(r, at+int64(n)))
		if err == nil && !bytes.Equal(whole[at:], part[:n]) {
			t.Fatalf("%d bytes at %d", n, at)
		}
	})
}
