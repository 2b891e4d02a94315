package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"capd/capture"
	"capd/internal/setup"
	"capd/internal/text"
	"capd/pcap"
)

// patience is after how many milliseconds the kernel hands over packets
// that do not fill a block.
const patience = 20

// live shows the packets of interfaces.
func (w *watcher) live(ctx context.Context) error {
	var live liveFeeds
	defer func() { live.close() }()
	var feeds []feed
	for _, name := range w.Interfaces {
		f, err := w.open(name)
		if err != nil {
			return err
		}
		live = append(live, f)
		feeds = append(feeds, f)
	}
	if err := w.Serve.fits(live); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	begun := time.Now()
	w.printer.save(func(s *saver) {
		for _, f := range live {
			if f.origin.name != capture.Any { // whose packets are of others
				s.on(f.origin)
			}
		}
	})
	endServe := w.serve(ctx)
	counting, stop := context.WithCancel(context.WithoutCancel(ctx))
	var reporter sync.WaitGroup
	reporter.Go(func() { w.reportDrops(counting, live) })
	err := w.attend(ctx, feeds)
	stop()
	reporter.Wait()
	w.printer.leave()
	why := w.printer.why()
	saved := w.printer.finish(err, func(s *saver) { live.save(s, begun) })
	saved = errors.Join(saved, endServe())
	if !errors.Is(why, errReaderGone) {
		w.summary(live)
		err = errors.Join(err, why)
	}
	return errors.Join(err, saved)
}

// open opens an interface as a recorder does, with a ring of its own.
func (w *watcher) open(name string) (*liveFeed, error) {
	dev, err := capture.Open(capture.Config{
		Interface: name, Snaplen: w.Snaplen, Promiscuous: !w.NoPromiscuous,
		RingSize: int(w.Ring), BlockTimeout: patience,
		Compile: func(link pcap.LinkType) ([]capture.Instruction, error) { return setup.Program(w.Filter, link) },
	})
	if err != nil {
		return nil, err
	}
	h, err := dev.Attach()
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("watch %s: %w", text.Name(name), err)
	}
	for _, warning := range dev.Warnings() {
		w.notice("%s: %s", text.Name(name), warning)
	}
	return &liveFeed{watcher: w, dev: dev, h: h, origin: newOrigin(name, h.LinkType()), others: make(map[*pcap.Interface]*origin)}, nil
}

// A liveFeed is the feed of one interface, with a ring of its own.
type liveFeed struct {
	*watcher
	dev    *capture.Device
	h      *capture.Handle
	origin *origin
	others map[*pcap.Interface]*origin // where the packets of all interfaces come together
}

type liveFeeds []*liveFeed

func (all liveFeeds) close() {
	for _, f := range all {
		_ = f.dev.Close()
	}
}

func (all liveFeeds) stats() []capture.Stats {
	list := make([]capture.Stats, len(all))
	for i, f := range all {
		list[i], _ = f.h.Stats() // counters that can't be read count as zero
	}
	return list
}

// save writes the counts of each interface.
func (all liveFeeds) save(w *saver, begun time.Time) {
	for i, s := range all.stats() {
		w.statistics(all[i].origin, pcap.Statistics{
			Start: begun, End: time.Now(), Received: s.Received, NICDropped: s.NICDropped,
			KernelDropped: s.Dropped, Accepted: s.Received, Delivered: s.Received - s.Dropped,
		})
	}
}

// stop ends the reception: run returns when it has shown what came before.
func (f *liveFeed) stop() {
	f.h.Refresh()
	_ = f.h.Stop()
}

func (f *liveFeed) run() error {
	group := make([]pcap.Packet, 64)
	for {
		b, err := f.h.Next(0)
		if b == nil && err == nil {
			if f.printer.flush() != nil {
				return nil // the printer knows why
			}
			b, err = f.h.Next(time.Second)
		}
		switch {
		case errors.Is(err, capture.ErrDown):
			f.notice("%s is down; it is waited for", f.origin.label)
		case errors.Is(err, capture.ErrClosed):
			_ = f.printer.flush()
			return nil
		case err != nil:
			_ = f.printer.flush()
			return fmt.Errorf("watch %s: %w", f.origin.label, err)
		case b != nil && f.batch(b, group) != nil:
			return nil
		}
	}
}

// batch shows the packets of a batch.
func (f *liveFeed) batch(b *capture.Batch, group []pcap.Packet) error {
	defer b.Release()
	for n := b.Read(group); n > 0; n = b.Read(group) {
		for i := range group[:n] {
			if err := f.printer.show(f.of(&group[i]), &group[i], nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxOthers is how many interfaces are kept.
const maxOthers = 4096

// of is the interface of a packet.
func (f *liveFeed) of(p *pcap.Packet) *origin {
	if p.From == nil {
		return f.origin
	}
	o := f.others[p.From]
	if o == nil {
		if len(f.others) >= maxOthers {
			clear(f.others)
		}
		o = newOrigin(p.From.Name, p.From.LinkType)
		f.others[p.From] = o
	}
	return o
}

// cookedIndex is the index of the interface in the header of
// https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html.
func cookedIndex(link pcap.LinkType, data []byte) (uint32, bool) {
	if link != pcap.LinkTypeLinuxSLL2 || len(data) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint32(data[4:]), true
}

// unnamed stands for the name of an interface of which only the index is known.
func unnamed(index uint32) string { return fmt.Sprintf("if%d", index) }

// reportDrops says, at most once a second, that packets were lost since.
func (w *watcher) reportDrops(ctx context.Context, live liveFeeds) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var before uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var dropped uint64
		for _, s := range live.stats() {
			dropped += s.Dropped
		}
		if dropped > before {
			w.notice("%s dropped by the kernel, %d in all: they come faster than they are shown", text.Count(dropped-before, "packet"), dropped)
			before = dropped
		}
	}
}

// summary prints the counts at the end, each apart.
func (w *watcher) summary(live liveFeeds) {
	var t capture.Stats
	all := live.stats()
	for _, s := range all {
		t.Received += s.Received
		t.Dropped += s.Dropped
		t.NICDropped += s.NICDropped
	}
	shown, captured := w.printer.shown.Load(), t.Received-t.Dropped
	var b strings.Builder
	if w.Serve == nil {
		b.WriteString(text.Count(shown, "packet") + " shown\n")
	}
	fmt.Fprintf(&b, "%s captured\n%s dropped by the kernel\n", text.Count(captured, "packet"), text.Count(t.Dropped, "packet"))
	if captured > shown && w.Serve == nil {
		fmt.Fprintf(&b, "%s captured and not shown before the end\n", text.Count(captured-shown, "packet"))
	}
	if t.NICDropped > 0 {
		fmt.Fprintf(&b, "%d packets dropped by the interface\n", t.NICDropped)
	}
	b.WriteString(w.printer.oddities())
	for i, s := range all {
		if len(all) > 1 {
			fmt.Fprintf(&b, "%s: %d captured, %d dropped by the kernel\n", live[i].origin.label, s.Received-s.Dropped, s.Dropped)
		}
	}
	w.summarize(b.String())
}
