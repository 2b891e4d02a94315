package service

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRelaxTimersRefused: without CAP_SYS_NICE timers of other threads can't be late, unless they
// are from the start, as in a service of systemd.
func TestRelaxTimersRefused(t *testing.T) {
	if _, err := os.Stat(slackOf("self")); err != nil {
		t.Skip("needs timerslack_ns: ", err)
	}
	for slack, refused := range map[time.Duration]bool{50 * time.Microsecond: true, time.Millisecond: false, time.Second: false} {
		result := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // and the thread ends with the goroutine, as it has lost a capability
			if err := withoutNice(slack); err != nil {
				t.Error(err)
			}
			result <- RelaxTimers()
		}()
		if err := <-result; errors.Is(err, fs.ErrPermission) != refused || !refused && err != nil {
			t.Errorf("slack of %v: %v", slack, err)
		}
	}
}

// withoutNice takes CAP_SYS_NICE from the calling thread, and sets its slack.
func withoutNice(slack time.Duration) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_NICE
	return errors.Join(unix.Capset(&header, &data[0]), unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0))
}
