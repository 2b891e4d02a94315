// Package notify reports the state of the service to a service manager, by the protocol of
// sd_notify(3). It opens one connection at the start, because the sandboxed process may not be able
// to open another one later.
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

// patience is how long a busy manager may delay the sender of a message.
const patience = time.Second

// A Manager sends messages to the service manager. The methods of a nil Manager do nothing.
type Manager struct {
	conn     *net.UnixConn
	watchdog time.Duration
	storeMax int // 0: not known
}

// Open connects to the manager that the environment names (NOTIFY_SOCKET, WATCHDOG_USEC,
// WATCHDOG_PID). It returns nil if there is none.
func Open() (*Manager, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to the service manager: %w", err)
	}
	return &Manager{conn: conn, watchdog: watchdog(), storeMax: storeMax()}, nil
}

// watchdog returns the watchdog timeout from the environment; 0 means none.
func watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for the parent process
	}
	n, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || n < 0 || n > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Watchdog returns the longest time between two calls of Alive, after which the manager restarts
// the service; 0 means that the manager does not expect calls.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// send sends lines in one message. Errors are ignored: the manager reacts by itself if messages are
// missing.
func (m *Manager) send(lines ...string) {
	if m != nil {
		_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
		_, _ = m.conn.Write([]byte(strings.Join(lines, "\n")))
	}
}

// Ready reports that the service has started.
func (m *Manager) Ready() { m.send("READY=1") }

// Status reports a text for users, on one line.
func (m *Manager) Status(text string) { m.send("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// Alive reports that the service is working.
func (m *Manager) Alive() { m.send("WATCHDOG=1") }

// Stopping reports that the service is shutting down.
func (m *Manager) Stopping() { m.send("STOPPING=1") }

// Extend requests more time for the present start or stop.
func (m *Manager) Extend(d time.Duration) {
	m.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// Reload calls f, and reports before that the service reloads and afterwards that it is ready. The
// protocol has no message for a failed reload: the status text reports it.
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

// monotonic returns CLOCK_MONOTONIC, by which the manager distinguishes reloads.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clockMonotonic, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
