package store

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// WriteVector writes all buffers, one behind the other, at an offset of the file.
func WriteVector(f *os.File, bufs [][]byte, off int64) error {
	for len(bufs) > 0 {
		var n int
		err := again(func() (err error) {
			n, err = unix.Pwritev(int(f.Fd()), bufs, off)
			return err
		})
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off += int64(n)
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			bufs[0] = bufs[0][n:]
		}
	}
	return nil
}
