package writer

import (
	"errors"
	"fmt"
	"os"

	"capd/crypt"
	"capd/ledger"
	"capd/store"
)

// recoverSealed mends an encrypted file without a key: what was written of it without a hole stays. It has no last piece
// then, unless it was just not renamed, and may end amid a record. What it holds behind the last checkpoint is not
// known. The path is that of the finished file.
func (r *Recovered) recoverSealed(h *os.File, path string, checkpoint ledger.Entry) error {
	info, err := h.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	begin, err := crypt.BeginSize(h, size)
	if err == nil {
		// A checkpoint's offset is in what is encrypted, and the pieces up to there are on the disk.
		known := checkpoint.Offset
		if known < 0 || crypt.Offset(begin, known+crypt.PieceSize-1) > size {
			known, checkpoint = 0, ledger.Entry{}
		}
		var end int64
		if end, err = crypt.Written(h, begin, size, known); err != nil {
			return err
		}
		if end > begin {
			r.Size, r.Cut, r.Why = end, size-end, "encrypted: what is behind its last checkpoint can't be counted without a key"
			r.addCheckpoint(checkpoint)
			return r.cutAt(h, end, path)
		}
	}
	if err != nil && !errors.Is(err, crypt.ErrNoHeader) {
		return fmt.Errorf("read %s: %w", h.Name(), err)
	}
	if size > headerDamaged {
		r.Damaged, r.Path, r.Size, r.Why = true, path+store.DamagedExt, size, crypt.ErrNoHeader.Error()
		return store.Rename(path+store.Partial, path+store.DamagedExt)
	}
	r.Cut, r.Why = size, "no packets"
	return os.Remove(path + store.Partial)
}

// headerDamaged is the size from which on a file without a whole header has more than the begin of one.
const headerDamaged = crypt.PieceSize
