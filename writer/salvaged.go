package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"capd/internal/text"
	"capd/store"
)

// SalvagedPath returns the name of the file that Salvage makes of the one at path. Its end says the format, as tools expect.
func SalvagedPath(path string) string {
	if finished, s := store.Cut(path); s == store.Recording || s == store.Damaged {
		path = finished
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + ".salvaged" + ext
}

// A DamagedError says that a file is not just torn at its end, or may not be,
// and was left alone therefore.
type DamagedError struct{ Path, Why string }

// Error says what was found.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s: left as it is: %s", e.Path, e.Why) }

// A SalvageError says why a file could not be salvaged.
type SalvageError struct {
	Path string
	Err  error
}

func (e *SalvageError) Error() string { return fmt.Sprintf("salvage: %v", e.Err) }
func (e *SalvageError) Unwrap() error { return e.Err }

// Hints says what to do about it.
func (e *SalvageError) Hints() []string {
	var p *fs.PathError
	switch {
	case errors.As(e, new(*DamagedError)):
		return []string{"without --in-place, what is whole is copied to a new file: capd salvage " + text.Name(e.Path)}
	case errors.Is(e, fs.ErrExist) && errors.As(e, &p):
		return []string{"no file is replaced: move " + text.Name(p.Path) + " away first"}
	case errors.Is(e, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: FILE must be readable for it, and its directory writable, as the copy is made there", os.Geteuid())}
	case errors.Is(e, fs.ErrNotExist), errors.Is(e, syscall.ENOSPC), errors.Is(e, syscall.EDQUOT):
		return (&store.UnfitError{Err: e.Err}).Hints()
	}
	finished, s := store.Cut(e.Path)
	if n, err := store.ParseName(filepath.Base(finished)); err == nil && n.Encrypted || strings.HasSuffix(finished, ".age") {
		return []string{"it is encrypted: capd filter -r " + text.Name(e.Path) + " --identity KEY -w OUT copies the whole packets that it has"}
	}
	if s == store.Gzip || s == store.Zstd {
		return []string{"it seems to be compressed: decompress it first, as with gzip -d or zstd -d"}
	}
	return nil
}
