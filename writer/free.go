package writer

import "fmt"

// FreeSpace describes the directory's file system, without what only Prove
// finds out by writing.
func FreeSpace(dir string) (Space, error) {
	s, err := space(dir)
	if err != nil {
		return s, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return s, nil
}
