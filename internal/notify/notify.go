// Package notify tells a service manager how capd fares, by the protocol of
// sd_notify(3). It holds one connection from the start on: after it has locked
// itself up the process may not be able to make another.
package notify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a busy manager may hold up the sender of a message.
const patience = time.Second

// A Manager receives the state of the service. A nil Manager stands for none: its
// methods do nothing.
type Manager struct {
	conn     *net.UnixConn
	watchdog time.Duration
}

// Open connects to the manager that the environment names (NOTIFY_SOCKET,
// WATCHDOG_USEC, WATCHDOG_PID); it returns nil where it names none.
func Open() (*Manager, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to the service manager: %w", err)
	}
	return &Manager{conn: conn, watchdog: watchdog()}, nil
}

// watchdog returns what the environment promises the manager; 0 is nothing.
func watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for the process that started this one
	}
	n, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || n < 0 || n > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Watchdog returns the time within which the manager must hear Alive, again and
// again, lest it restart the service; 0 where it does not listen for that.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// send sends lines in one message. A manager that does not take it hears the
// next one; it acts by itself on what it misses.
func (m *Manager) send(lines ...string) {
	if m != nil {
		_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
		_, _ = m.conn.Write([]byte(strings.Join(lines, "\n")))
	}
}

// Ready tells that the service does what it is for.
func (m *Manager) Ready() { m.send("READY=1") }

// Status tells people how it goes, on one line.
func (m *Manager) Status(text string) { m.send("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// Alive tells that work goes on.
func (m *Manager) Alive() { m.send("WATCHDOG=1") }

// Stopping tells that the service ends.
func (m *Manager) Stopping() { m.send("STOPPING=1") }

// Extend asks for that much more time for the start or stop that goes on now.
func (m *Manager) Extend(d time.Duration) {
	m.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// Reload tells that the service reads its settings anew, while f does it. The
// manager takes no other end of it than READY=1: a failure goes to the status.
func (m *Manager) Reload(f func() error) error {
	m.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
	err := f()
	if err != nil {
		m.send("READY=1", "STATUS=Not reloaded: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	} else {
		m.send("READY=1")
	}
	return err
}

// monotonic is the clock by which the manager tells this reload from another.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clockMonotonic, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
