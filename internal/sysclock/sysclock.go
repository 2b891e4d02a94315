// Package sysclock says what the system knows of its clock.
package sysclock

import (
	"fmt"
	"time"
)

// timesyncd touches this file whenever it has set the clock by a server, or found it right.
const timesyncd = "/run/systemd/timesync/synchronized"

// A reading is what the kernel says of its clock.
type reading struct {
	synchronised     bool
	offset, mayBeOff time.Duration
}

func (r *reading) String() string {
	if !r.synchronised {
		return "not synchronised (adjtimex)"
	}
	return fmt.Sprintf("synchronised (adjtimex), offset %v, at most %v off", r.offset, r.mayBeOff)
}

// fromFile says what timesyncd's file says.
func fromFile(touched, now time.Time) string {
	if touched.IsZero() {
		return "unknown"
	}
	return fmt.Sprintf("synchronised (systemd-timesyncd, %v ago)", now.Sub(touched).Round(time.Second))
}
