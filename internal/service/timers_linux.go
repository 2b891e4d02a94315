package service

import (
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// timerSlack is how late the kernel may wake a thread of capd that sleeps; what
// capd times are tenths of seconds. While calls of a Go program block, as reads
// and writes of a recorder do, a thread of Go's runtime sleeps for 20 us at a
// time: with Linux's slack of 50 us it wakes up ten thousand times a second,
// which is an eighth to a quarter of what recording takes of a processor.
const timerSlack = time.Millisecond

// relaxTimers sets it for all threads, from which later ones take it over. For
// others than the calling one the kernel wants CAP_SYS_NICE (proc(5)). Where that
// is missing, capd only takes more of a processor; systemd does it for the
// service (TimerSlackNSec).
func relaxTimers() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		path := filepath.Join("/proc", t.Name(), "timerslack_ns")
		_ = os.WriteFile(path, strconv.AppendInt(nil, int64(timerSlack), 10), 0)
	}
}
