package restart

import (
	"errors"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A Holder is a Keeper in the process itself, for a process that has no other: what it holds can be given to the next
// process while this one is there.
type Holder struct {
	mu   sync.Mutex
	held map[string][]int // not as os.File, which would have the runtime wait for each frame of a ring
}

// NewHolder makes a Holder of duplicates of the files.
func NewHolder(files []File) (*Holder, error) {
	h := &Holder{held: make(map[string][]int)}
	for _, f := range files {
		if err := h.Store(f.Name, f.File); err != nil {
			h.Close()
			return nil, err
		}
	}
	return h, nil
}

// Store holds duplicates of the files.
func (h *Holder) Store(name string, files ...*os.File) error {
	for _, f := range files {
		fd, err := duplicate(f)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.held[name] = append(h.held[name], fd)
		h.mu.Unlock()
	}
	return nil
}

// duplicate returns another descriptor of the file.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn() // unlike Fd, it leaves the file's mode alone, which a ring's socket shares with the recorder
	if err != nil {
		return -1, err
	}
	outer := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(outer, err)
}

// Remove closes what is held under the name.
func (h *Holder) Remove(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, fd := range h.held[name] {
		_ = unix.Close(fd)
	}
	delete(h.held, name)
	return nil
}

// Take returns what is held, and holds nothing any more.
func (h *Holder) Take() []File {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []File
	for _, name := range slices.Sorted(maps.Keys(h.held)) {
		for _, fd := range h.held[name] {
			all = append(all, File{name, os.NewFile(uintptr(fd), name)})
		}
	}
	clear(h.held)
	return all
}

// Close closes what is held.
func (h *Holder) Close() { CloseAll(h.Take()) }

// CloseAll closes the files.
func CloseAll(files []File) {
	for _, f := range files {
		_ = f.Close()
	}
}
