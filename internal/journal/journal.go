// Package journal logs to systemd's journal: with priorities, without times, which the journal adds
// itself, and with the interface as a separate field, which journalctl finds by INTERFACE=eth0.
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

// socket is where the journal receives entries (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const socket = "/run/systemd/journal/socket"

// patience is how long a busy journal may delay the writer of an entry.
const patience = 100 * time.Millisecond

// Takes reports whether the journal receives what is written to the file, according to
// JOURNAL_STREAM in the environment (systemd.exec(5)).
func Takes(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// A Handler is a slog.Handler that writes to the journal.
type Handler struct {
	level  slog.Leveler
	iface  string
	text   slog.Handler // formats the attributes into out's buffer
	out    *output
	nested bool // inside a group: attributes do not belong to the record itself
}

// output is shared by all handlers that were derived from one handler.
type output struct {
	mu   sync.Mutex
	line bytes.Buffer
	conn net.Conn  // nil: the socket does not exist
	back io.Writer // another way to the journal, which accepts lines with priorities
}

// NewHandler makes a Handler for records of at least the level. Entries that the journal's socket
// does not accept are written to back, which must lead to the journal.
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

// attributesOnly removes the attributes that an entry has in other places.
func attributesOnly(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.text = h.text.WithAttrs(attrs)
	for _, a := range attrs {
		with.note(a)
	}
	return &with
}

// WithGroup implements slog.Handler.
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

// Handle implements slog.Handler.
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

// priority converts a level to a syslog priority (sd-daemon(3)).
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
