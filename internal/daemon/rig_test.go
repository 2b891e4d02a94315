package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"capd/config"
	"capd/pcap"
	"capd/store"
)

// frameSize is the size in bytes of frame n: mostly small, some of 1514 bytes,
// a few of up to 64 KiB.
func frameSize(n uint64) int {
	h := n * 0x9e3779b97f4a7c15 >> 16
	switch h % 100 {
	case 0:
		return 1514 + int(h>>8%(65000-1514))
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return 1514
	}
	return 60 + int(h>>8%240)
}

// appendFrame makes frame n of a stream: its number, the stream, and a checksum
// of all bytes.
func appendFrame(b []byte, stream byte, n uint64) []byte {
	start := len(b)
	b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, stream)
	b = binary.BigEndian.AppendUint64(b, n)
	b = append(b, 0, 0, 0, 0)
	size := frameSize(n)
	for fill := byte(n); len(b)-start < size; fill += 7 {
		b = append(b, fill)
	}
	binary.BigEndian.PutUint32(b[start+23:], crc32.ChecksumIEEE(b[start:]))
	return b
}

// A rig runs a daemon with interfaces of its own.
type rig struct {
	t     *testing.T
	net   network
	d     *Daemon
	cfg   *config.Config
	dir   string
	stop  context.CancelFunc
	done  chan error
	ready chan struct{} // closed by Options.Ready
	log   *logBuffer
}

// newRig configures the interfaces, with small rings; change may adjust the
// configuration.
func newRig(t *testing.T, n network, change func(*config.Config), names ...string) *rig {
	t.Helper()
	r := &rig{t: t, net: n, dir: t.TempDir(), log: &logBuffer{}, done: make(chan error, 1)}
	cfg := config.Default()
	cfg.Directory = r.dir
	cfg.RingSize = config.AutoSize(32 * config.MiB)
	cfg.BlockTimeout = config.Duration(20 * time.Millisecond)
	cfg.PoolSize, cfg.ChunkSize = config.AutoSize(8*config.MiB), config.MiB
	cfg.FlushInterval = config.Duration(200 * time.Millisecond)
	if change != nil {
		change(cfg)
	}
	for _, name := range names {
		cfg.Interfaces = append(cfg.Interfaces, config.Interface{Name: name, Recording: cfg.Recording})
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r.cfg = cfg
	return r
}

// fine makes the blocks of the ring small. Every 20 ms uses up a block, however
// few frames come: many blocks last while a busy machine does other work.
func fine(c *config.Config) { c.Snaplen, c.BlockSize = 66_000, 128*config.KiB }

func (r *rig) options() Options {
	return Options{
		Config: r.cfg, Application: "capd test", System: r.net.system(), Unwatched: r.net.system() != nil,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

func (r *rig) start(opt Options) {
	r.t.Helper()
	over, ready := make(chan struct{}), make(chan struct{})
	if opt.Ready == nil {
		opt.Ready, r.ready = func() { close(ready) }, ready
	}
	d, err := New(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.d, r.stop = d, cancel
	go func() {
		defer close(over)
		r.done <- d.Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-over
		if r.t.Failed() {
			r.t.Log(r.log.String())
		}
	})
}

// end stops the daemon and returns its last status.
func (r *rig) end() []Status {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Fatal(err)
	}
	all := r.d.Status()
	for _, s := range all {
		if s.Received != s.Written+s.KernelDropped+s.Dropped {
			r.t.Errorf("counters of %s don't add up: %+v", s.Interface, s)
		}
	}
	return all
}

// status returns the status of one recorder.
func (r *rig) status(name string) Status {
	for _, s := range r.d.Status() {
		if s.Interface == name {
			return s
		}
	}
	return Status{}
}

// send sends frames from..to of a stream to an interface, no faster than the
// recorder of name accepts them.
func (r *rig) send(s wire, stream byte, from, to uint64, name string) {
	r.t.Helper()
	const window = 4000
	base := r.status(name).Received
	behind := func(n uint64) bool {
		for _, s := range r.d.Status() {
			if s.Received > s.Writer.Accepted+s.KernelDropped+window || s.Interface == name && s.Received+window < n {
				return true
			}
		}
		return false
	}
	var frame []byte
	for n := from; n < to; n++ {
		if n%100 == 99 {
			r.net.pace()
		}
		if n%500 == 499 {
			r.await("frames received", func() bool { return !behind(base + n - from) })
		}
		frame = appendFrame(frame[:0], stream, n)
		s.Send(frame)
	}
}

func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited too long for %s: %+v", what, r.d.Status())
		}
	}
}

// files returns the finished files of an interface, ordered by sequence number.
// Unfinished files fail the test.
func (r *rig) files(iface string) []string {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []store.Name
	for _, e := range entries {
		n, err := store.ParseName(e.Name())
		switch {
		case err == nil && n.Interface == iface:
			all = append(all, n)
		case err != nil && !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "ledger"):
			r.t.Errorf("left behind: %s", e.Name())
		}
	}
	slices.SortFunc(all, func(a, b store.Name) int { return int(a.Sequence) - int(b.Sequence) })
	paths := make([]string, len(all))
	for i, n := range all {
		paths[i] = filepath.Join(r.dir, n.String())
	}
	return paths
}

// walk calls f for each packet of the files.
func walk(t *testing.T, paths []string, f func(p pcap.Packet)) {
	t.Helper()
	for _, path := range paths {
		h, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := pcap.NewReader(h)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for {
			p, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			f(p)
		}
		h.Close()
	}
}

// verify checks that the files have the frames 0 to count-1 of the stream, each
// once, in order and unchanged, after skip bytes of header.
func verify(t *testing.T, paths []string, stream byte, count uint64, skip int) {
	t.Helper()
	var next uint64
	var want []byte
	bad := 0
	walk(t, paths, func(p pcap.Packet) {
		want = appendFrame(want[:0], stream, next)
		next++
		if bad > 5 {
			return
		}
		sent := want[min(skip, len(want)):]
		if skip > 0 {
			p.Data = p.Data[20:] // SLL2
			sent = want[14:]
			p.Length -= 20
		}
		if !bytes.Equal(p.Data, sent) || int(p.Length) != len(sent) {
			bad++
			t.Errorf("packet %d: %d of %d bytes, starting % x; want %d bytes % x", next-1, len(p.Data), p.Length,
				p.Data[:min(28, len(p.Data))], len(sent), sent[:28])
		}
	})
	if next != count {
		t.Errorf("%d frames in %d files, want %d", next, len(paths), count)
	}
}

// A logBuffer collects the log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
