package afpacket

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A waiter waits for events of a socket, and can be woken up.
//
// Each event ends only one wait (EPOLLET). poll(2) reports a ring as readable until the block that
// the kernel filled last is returned; while that block is held, Next would not sleep.
type waiter struct {
	epoll int
	wake  int // eventfd that ends a wait

	events [2]unix.EpollEvent // a field, so that a wait does not allocate
	paused [1]unix.PollFd
}

func newWaiter(socket int) (w waiter, err error) {
	w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return w, fmt.Errorf("make eventfd: %w", err)
	}
	w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(w.wake)
		return w, fmt.Errorf("make epoll: %w", err)
	}
	for fd, events := range map[int]uint32{socket: unix.EPOLLIN | unix.EPOLLET, w.wake: unix.EPOLLIN} {
		if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
			w.close()
			return w, fmt.Errorf("add to epoll: %w", err)
		}
	}
	return w, nil
}

// wait returns after an event of the socket, after wakeUp, or after the limit; a negative limit
// means no limit. It reports whether the socket has an error.
func (w *waiter) wait(limit time.Duration) (failed bool, err error) {
	ms := -1
	if limit >= 0 {
		ms = int(min((limit+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	n, err := unix.EpollWait(w.epoll, w.events[:], ms)
	if err != nil && err != unix.EINTR {
		return false, fmt.Errorf("wait for frames: %w", err)
	}
	for _, e := range w.events[:max(n, 0)] {
		if int(e.Fd) == w.wake {
			var b [8]byte
			_, _ = unix.Read(w.wake, b[:])
		} else if e.Events&unix.EPOLLERR != 0 {
			failed = true
		}
	}
	return failed, nil
}

// pause returns after wakeUp, or after the time.
func (w *waiter) pause(d time.Duration) error {
	t := unix.NsecToTimespec(int64(d))
	w.paused[0] = unix.PollFd{Fd: int32(w.wake), Events: unix.POLLIN}
	n, err := unix.Ppoll(w.paused[:], &t, nil)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for frames: %w", err)
	}
	if n > 0 {
		var b [8]byte
		_, _ = unix.Read(w.wake, b[:])
	}
	return nil
}

// wakeUp ends the present wait, or the next one. It may be called from any goroutine.
func (w *waiter) wakeUp() {
	one := [8]byte{}
	host.PutUint64(one[:], 1)
	_, _ = unix.Write(w.wake, one[:]) // fails only after 2^64-2 unread calls
}

func (w *waiter) close() error {
	return errors.Join(unix.Close(w.epoll), unix.Close(w.wake))
}
