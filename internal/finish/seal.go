package finish

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"capd/seal"
	"capd/store"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A sealStep digests a file whose bytes nobody digested while they were written.
// The ledger says for which files it is done.
type sealStep struct {
	helper
	undigested func(store.Name) bool
}

func (*sealStep) name() string { return Seal }

func (s *sealStep) needs(f *store.File) bool { return s.undigested(f.Name) }

func (s *sealStep) do(name string) (Outcome, error) {
	var out Outcome
	var err error
	if len(s.self) > 0 {
		out, err = s.helper.do(request{Step: Seal, Name: name})
	} else {
		out, err = (&digester{dir: s.dir.Path(), stop: s.stop.Done()}).run(name)
	}
	if err != nil && !errors.Is(err, errNothing) {
		err = fmt.Errorf("seal: %w", err)
	}
	return out, err
}

// A digester digests finished files, compressed or not.
type digester struct {
	dir  string
	stop <-chan struct{} // closed when the work must be given up
}

// run digests what was recorded. What it reads of the file does not stay in the
// page cache.
func (x *digester) run(name string) (Outcome, error) {
	path := present(x.dir, name)
	out := Outcome{Path: path}
	if path == "" {
		return out, errNothing
	}
	h, _, err := openRegular(path)
	if err != nil {
		return out, err
	}
	defer h.Close()
	behind := behindReader{f: h}
	defer behind.drop()
	src, err := Recording(stoppable{h, x.stop, behind.read}, path)
	if err != nil {
		return out, err
	}
	defer src.Close()
	d, err := seal.DigestOf(src)
	out.Digest, out.Size = d, d.Size
	if errors.Is(err, errNothing) {
		err = errNothing
	}
	if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) && err == nil {
		if path = present(x.dir, name); path == "" {
			return out, errNothing // a limit has deleted it
		}
		out.Path = path
	}
	return out, err
}

// Recording reads what was recorded from a file of that path, which may be
// compressed. It does not close src.
func Recording(src io.Reader, path string) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(path, store.Zstd.Ext()):
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case strings.HasSuffix(path, store.Gzip.Ext()):
		return gzip.NewReader(src)
	}
	return io.NopCloser(src), nil
}

// A stoppable reader gives up when it must.
type stoppable struct {
	*os.File
	stop <-chan struct{}
	read func(n int)
}

func (r stoppable) Read(p []byte) (int, error) {
	select {
	case <-r.stop:
		return 0, errNothing
	default:
	}
	n, err := r.File.Read(p)
	r.read(n)
	return n, err
}

// Digest digests a finished file of a directory here and now, unless stop is
// closed before it is done.
func Digest(dir string, name store.Name, stop <-chan struct{}) (seal.Digest, error) {
	out, err := (&digester{dir, stop}).run(filepath.Base(name.String()))
	return out.Digest, err
}
