// Package journal logs to systemd's journal: with priorities, without times,
// which the journal has itself, and with the interface as a field of its own,
// so that journalctl finds it by INTERFACE=eth0.
package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// socket is where the journal takes entries (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const socket = "/run/systemd/journal/socket"

// patience is how long a busy journal may hold up the writer of an entry.
const patience = 100 * time.Millisecond

// Takes reports whether what is written to the file goes to the journal, by the
// environment's JOURNAL_STREAM (systemd.exec(5)).
func Takes(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// A Handler writes records to the journal.
type Handler struct {
	level  slog.Leveler
	iface  string
	text   slog.Handler // of what comes after the message, into out's buffer
	out    *output
	nested bool // within a group: attributes are not the record's own
}

// output is what handlers share that come from one.
type output struct {
	mu   sync.Mutex
	line bytes.Buffer
	conn net.Conn  // nil: there is no such socket
	back io.Writer // goes to the journal too, which takes lines with priorities there
}

// NewHandler makes a Handler of records from the level on. What the journal's
// socket does not take goes to back, whose lines it must get.
func NewHandler(back io.Writer, level slog.Leveler) *Handler {
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		conn = nil
	}
	return newHandler(conn, back, level)
}

func newHandler(conn net.Conn, back io.Writer, level slog.Leveler) *Handler {
	out := &output{conn: conn, back: back}
	return &Handler{level: level, out: out, text: slog.NewTextHandler(&out.line, &slog.HandlerOptions{
		Level: slog.LevelDebug - 100, ReplaceAttr: attributesOnly,
	})}
}

// attributesOnly leaves out what is elsewhere in an entry.
func attributesOnly(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// Enabled is for slog.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs is for slog.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.text = h.text.WithAttrs(attrs)
	for _, a := range attrs {
		with.note(a)
	}
	return &with
}

// WithGroup is for slog.
func (h *Handler) WithGroup(name string) slog.Handler {
	with := *h
	with.text = h.text.WithGroup(name)
	with.nested = true
	return &with
}

func (h *Handler) note(a slog.Attr) {
	if a.Key == "interface" && !h.nested {
		h.iface = a.Value.String()
	}
}

// Handle writes the record.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	own := *h
	r.Attrs(func(a slog.Attr) bool {
		own.note(a)
		return true
	})
	out := h.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.line.Reset()
	out.line.WriteString(r.Message + " ")
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	return out.write(priority(r.Level), own.iface, oneLine(out.line.String()))
}

func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", " ") }

func (o *output) write(priority int, iface, message string) error {
	if o.conn != nil {
		entry := fmt.Sprintf("PRIORITY=%d\nSYSLOG_IDENTIFIER=capd\nMESSAGE=%s\n", priority, message)
		if iface != "" {
			entry += "INTERFACE=" + oneLine(iface) + "\n"
		}
		_ = o.conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := o.conn.Write([]byte(entry)); err == nil {
			return nil
		}
	}
	_, err := fmt.Fprintf(o.back, "<%d>%s\n", priority, message)
	return err
}

// priority is syslog's (sd-daemon(3)).
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
