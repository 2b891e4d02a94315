package sysclock

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Bits of Timex.Status in linux/timex.h.
const (
	statusUnsynchronised = 0x40
	statusNano           = 0x2000 // offsets are in nanoseconds
)

// State returns in one line whether the system clock is synchronised, and who
// says so. Where the kernel may not be asked, as in a service with ProtectClock,
// it is timesyncd's file that says so, or nobody.
func State() string {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil { // without modes it only reads
		touched := time.Time{}
		if info, err := os.Stat(timesyncd); err == nil {
			touched = info.ModTime()
		}
		return fromFile(touched, time.Now())
	}
	return read(&t).String()
}

func read(t *unix.Timex) *reading {
	unit := time.Microsecond
	if t.Status&statusNano != 0 {
		unit = time.Nanosecond
	}
	return &reading{
		synchronised: t.Status&statusUnsynchronised == 0,
		offset:       time.Duration(t.Offset) * unit,
		mayBeOff:     time.Duration(t.Maxerror) * time.Microsecond,
	}
}
