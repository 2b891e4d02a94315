//go:build unix && !(linux || freebsd || darwin)

package store

import "os"

// NextHole finds none: these systems have no SEEK_HOLE.
func NextHole(_ *os.File, _, size int64) int64 { return size }

// SeekHole finds none: these systems have no SEEK_HOLE.
func SeekHole(_ *os.File, _, size int64) int64 { return size }
