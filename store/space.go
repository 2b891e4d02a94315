package store

import "fmt"

// A Space describes the file system of a directory.
type Space struct {
	FileSystem string // such as ext4; the magic number of an unknown type
	Writes     Writes // how direct writes go
	Free       uint64 // bytes that an ordinary user may still write
	Total      uint64 // bytes
	FreeFiles  uint64 // files that an ordinary user may still create; see Files
	Files      uint64 // limit for the number of files; 0: the file system has no such limit
}

// Writes says how a file system writes what is written directly, as by O_DIRECT.
type Writes string

// The ways.
const (
	WritesDirect  Writes = "writes go past the page cache"
	WritesRefused Writes = "direct writes are refused: they go through the page cache"
	WritesCached  Writes = "direct writes are accepted, but go through the page cache"
	WritesUnknown Writes = "direct writes are accepted; whether they go past the page cache is not known"
)

// FreeSpace describes the directory's file system, without the fields for which Prove has to write.
func FreeSpace(dir string) (Space, error) {
	s, err := space(dir)
	if err != nil {
		return s, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return s, nil
}
