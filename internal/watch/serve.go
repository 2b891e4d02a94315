package watch

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"capd/capture"
	"capd/internal/hint"
	"capd/internal/serve"
	"capd/internal/text"
	"capd/pcap"
)

// Serving says that packets are given to readers over TCP instead of being shown.
type Serving struct {
	Listener net.Listener
	Format   pcap.Format
	Micro    bool // pcap with microseconds
}

// maxQueued is how many bytes wait for a reader. What does not fit it does not get.
const maxQueued = 8 << 20

// A hub gives what a saver writes to all readers. It waits for none.
type hub struct {
	saver *saver

	mu      sync.Mutex // guards what follows, and the readers
	readers map[*reader]bool
	head    int    // bytes of the saver's head that were written
	packets uint64 // that were written
	closed  bool
}

// A reader is one of a hub's.
type reader struct {
	queue [][]byte // whole records
	bytes int      // in queue
	head  int      // bytes of the saver's head that it has
	lost  uint64   // packets that did not fit
	ready chan struct{}
}

// newServed returns a saver whose file goes to a hub.
func newServed(s *Serving, h pcap.Header) (*saver, *hub) {
	h.Format, h.Micro = s.Format, s.Micro
	to := &hub{readers: make(map[*reader]bool)}
	to.saver = &saver{name: "readers", out: to, section: h, first: none}
	return to.saver, to
}

// Write gives records to the readers: all that the saver has gathered since the last call.
func (h *hub) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	had, n := h.head, h.saver.packets-h.packets
	h.head, h.packets = len(h.saver.head), h.saver.packets
	var shared []byte
	for r := range h.readers {
		if r.bytes+len(b) > maxQueued {
			r.lost += n
			continue
		}
		if shared == nil {
			shared = append(shared, b...)
		}
		r.add(h.saver.head[r.head:had]) // what was in records that it has lost
		r.add(shared)
		r.head = h.head
	}
	return len(b), nil
}

// add queues records. The hub is locked.
func (r *reader) add(b []byte) {
	if len(b) == 0 {
		return
	}
	r.queue, r.bytes = append(r.queue, b), r.bytes+len(b)
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// join adds a reader, which gets what the file begins with, and the packets that come from now on. The saver is locked.
func (h *hub) join() *reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &reader{ready: make(chan struct{}, 1), head: len(h.saver.head)}
	r.add(h.saver.head[:r.head:r.head])
	h.readers[r] = true
	if h.closed {
		close(r.ready)
	}
	return r
}

// leave takes a reader out, and says how many packets it has lost.
func (h *hub) leave(r *reader) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, r)
	return r.lost
}

// take waits for records. It returns false if no more come, or the context ends.
func (h *hub) take(ctx context.Context, r *reader) (records [][]byte, ok bool) {
	select {
	case _, ok = <-r.ready:
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	records, r.queue, r.bytes = r.queue, nil, 0
	return records, ok
}

// close lets readers end when they have taken what waits for them.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for r := range h.readers {
		close(r.ready)
	}
	h.readers = make(map[*reader]bool)
}

// serve gives packets to whoever connects, until the function that it returns is called, which lets readers take what waits for them.
func (w *watcher) serve(ctx context.Context) (end func() error) {
	if w.Serve == nil {
		return func() error { return nil }
	}
	w.notice("waiting for readers on %s", w.Serve.Listener.Addr())
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- (&serve.Server{Stream: w.stream, Endless: true}).Serve(ctx, w.Serve.Listener) }()
	return func() error {
		w.hub.close()
		stop()
		return <-ended
	}
}

// stream gives packets to a reader as they come.
func (w *watcher) stream(ctx context.Context, client net.Addr, to io.Writer) {
	var r *reader
	w.printer.save(func(s *saver) {
		_ = s.flush() // which others wait for; a hub takes everything
		r = w.hub.join()
	})
	if r == nil {
		return
	}
	var err error
	for ok := true; ok && err == nil; {
		var records [][]byte
		records, ok = w.hub.take(ctx, r)
		for _, b := range records {
			if _, err = to.Write(b); err != nil {
				break
			}
		}
	}
	said := ""
	if lost := w.hub.leave(r); lost > 0 {
		said = fmt.Sprintf("; %s dropped, as it read too slowly", text.Count(lost, "packet"))
	}
	switch {
	case err != nil && !gone(err):
		w.notice("%s: %v%s", client, err, said)
	default:
		w.notice("%s has left%s", client, said)
	}
}

// fits reports whether the packets of interfaces can be in one file of the format.
func (s *Serving) fits(all liveFeeds) error {
	if s == nil || s.Format != pcap.PCAP {
		return nil
	}
	for _, f := range all {
		if first := all[0].origin; f.origin.name == capture.Any || f.origin.link != first.link {
			return hint.New("watch: a pcap stream has packets of one link type", "name an interface with -i; or --format pcapng, for readers that take it")
		}
	}
	return nil
}
