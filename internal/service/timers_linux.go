package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// timerSlack is how late the kernel may wake a thread of capd that sleeps; what
// capd times are tenths of seconds. While calls of a Go program block, as reads
// and writes of a recorder do, a thread of Go's runtime sleeps for 20 us at a
// time: with Linux's slack of 50 us it wakes up ten thousand times a second,
// which is an eighth to a quarter of what recording takes of a processor.
const timerSlack = time.Millisecond

// RelaxTimers sets it for all threads, from which later ones take it over. For
// others than the calling one the kernel wants CAP_SYS_NICE (proc(5)). Where that
// is missing, capd only takes more of a processor, and the error says so; systemd
// does it for the service (TimerSlackNSec), which needs no privilege.
func RelaxTimers() error {
	runtime.LockOSThread() // what other threads have, it may not read
	defer runtime.UnlockOSThread()
	text, err := os.ReadFile(slackOf(strconv.Itoa(syscall.Gettid())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this system has no such thing
	}
	if ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && ns >= int64(timerSlack) {
		return nil // all threads have it from the process that started this one
	}
	threads, err := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		e := os.WriteFile(slackOf(t.Name()), strconv.AppendInt(nil, int64(timerSlack), 10), 0)
		if err == nil && !errors.Is(e, fs.ErrNotExist) { // the thread has ended
			err = e
		}
	}
	return err
}

func slackOf(thread string) string { return filepath.Join("/proc", thread, "timerslack_ns") }
