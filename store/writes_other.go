//go:build !linux

package store

import "os"

// writesOf knows of no way to find out.
func writesOf(*os.File, string, string) Writes { return WritesUnknown }
