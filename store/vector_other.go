//go:build !linux

package store

import "os"

// WriteVector writes all buffers, one behind the other, at an offset of the file.
func WriteVector(f *os.File, bufs [][]byte, off int64) error {
	for _, b := range bufs {
		n, err := f.WriteAt(b, off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
