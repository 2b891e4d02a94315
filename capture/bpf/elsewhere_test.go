package bpf

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// share returns a file that stands for another descriptor of the device.
func (k *fakeKernel) share(fd int) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.open_[fd]
	if n.elsewhere == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer w.Close()
		n.elsewhere = r
		k.held = append(k.held, n)
		k.t.Cleanup(func() { r.Close() })
	}
	return os.OpenFile(fmt.Sprintf("/dev/fd/%d", n.elsewhere.Fd()), os.O_WRONLY, 0)
}

// take makes a descriptor of such a file.
func (k *fakeKernel) take(f *os.File) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return -1, err
	}
	for _, n := range k.held {
		if own, err := n.elsewhere.Stat(); err == nil && os.SameFile(own, info) {
			fd := 100 + len(k.open_)
			k.open_[fd] = n
			return fd, nil
		}
	}
	return noDevice, nil
}

// noDevice is the descriptor of something else.
const noDevice = 7

// isElsewhere reports whether other processes have descriptors of the device.
func (n *fakeNode) isElsewhere() bool {
	fds := []unix.PollFd{{Fd: int32(n.elsewhere.Fd()), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	for err == unix.EINTR { // Go's scheduler sends signals
		_, err = unix.Poll(fds, 0)
	}
	return err == nil && fds[0].Revents&unix.POLLHUP == 0
}
