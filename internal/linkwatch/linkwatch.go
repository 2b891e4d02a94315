// Package linkwatch reports changes of network interfaces as soon as the system reports them.
//
// It does not report what has changed. The system may drop messages when there are many, so the
// caller should list the interfaces after each report: the list is always complete.
package linkwatch

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// A Watcher receives the system's messages in a goroutine, until Close.
type Watcher struct {
	// Changed receives a value when an interface was created, removed, renamed, set up or down,
	// moved to or from another network namespace, or has another address, MTU or flag. Further
	// changes before the value is received add no second value. The channel is closed when the
	// system sends no more messages.
	Changed <-chan struct{}

	socket *os.File
	done   chan struct{}
}

// New starts watching the network namespace of the calling thread.
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

// Close ends the Watcher. It returns when the goroutine has ended.
func (w *Watcher) Close() error {
	err := w.socket.Close()
	<-w.done
	return err
}

// room is the size of a read buffer. The message of a link with many queues or virtual functions
// has several kilobytes. Longer messages are truncated, which leaves enough to recognize their
// type.
const room = 64 << 10

func (w *Watcher) listen(changed chan<- struct{}) {
	defer close(w.done)
	defer close(changed)
	buf := make([]byte, room)
	for {
		n, err := w.socket.Read(buf)
		// The socket's buffer overflowed, so that messages were lost.
		lost := errors.Is(err, syscall.ENOBUFS)
		if err != nil && !lost {
			return
		}
		if lost || concerns(buf[:n]) {
			select {
			case changed <- struct{}{}:
			default: // the previous value was not received yet
			}
		}
	}
}
