//go:build unix && !linux

package store

import "errors"

// watch is not supported: kqueue(2) reports names only for open files, so that every file of the
// directory would have to be open.
func watch(string) (watcher, error) { return nil, errors.ErrUnsupported }
