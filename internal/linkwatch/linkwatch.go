// Package linkwatch reports that network interfaces have changed, as soon as the
// system says so.
//
// It does not report what has changed. The system may drop messages when there are
// many, so the caller reads the list of interfaces after each report: that list is
// always complete.
package linkwatch

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// A Watcher listens to the system in a goroutine of its own, until Close.
type Watcher struct {
	// Changed has a value when an interface appeared, went away, up or down, was
	// renamed, moved to or from another network namespace, or has another
	// address, MTU or flag. Changes that come before the value is taken are one
	// with it. It is closed when the system sends no more messages.
	Changed <-chan struct{}

	socket *os.File
	done   chan struct{}
}

// New begins to listen in the network namespace of the calling thread.
func New() (*Watcher, error) {
	fd, err := open()
	if err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	changed := make(chan struct{}, 1)
	w := &Watcher{Changed: changed, socket: os.NewFile(uintptr(fd), "link changes"), done: make(chan struct{})}
	go w.listen(changed)
	return w, nil
}

// Close ends the Watcher and returns when its goroutine has ended.
func (w *Watcher) Close() error {
	err := w.socket.Close()
	<-w.done
	return err
}

// room is for the messages of one read. A message of a link with many queues or
// virtual functions is some kilobytes; what does not fit is cut, and enough is
// left to see what it was.
const room = 64 << 10

func (w *Watcher) listen(changed chan<- struct{}) {
	defer close(w.done)
	defer close(changed)
	buf := make([]byte, room)
	for {
		n, err := w.socket.Read(buf)
		// More messages came than the socket holds: some of them are lost.
		lost := errors.Is(err, syscall.ENOBUFS)
		if err != nil && !lost {
			return
		}
		if lost || concerns(buf[:n]) {
			select {
			case changed <- struct{}{}:
			default: // there is one that was not taken
			}
		}
	}
}
