package main

import (
	"capd/pcap"
	"capd/store"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// file shows the packets of a file.
func (w *watchCommand) file(ctx context.Context, p *printer, stdin io.Reader) error {
	f := &fileFeed{w: w, p: p, programs: newPrograms(w.expr)}
	f.stopped, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	in, end, err := f.open(stdin)
	if err != nil {
		return err
	}
	defer end()
	f.src = flushReader{in, p}
	interrupted, err := w.attend(ctx, p, []feed{f})
	p.leave()
	why := p.why()
	if errors.Is(why, errReaderGone) {
		return nil
	}
	end()
	if interrupted {
		fmt.Fprintf(w.screen, "%s shown\n", plural(p.shown.Load(), "packet"))
	}
	if s := p.oddities(); s != "" {
		fmt.Fprint(w.screen, s)
	}
	return errors.Join(err, why)
}

// A fileFeed is the feed of a file.
type fileFeed struct {
	w        *watchCommand
	p        *printer
	src      io.Reader
	programs *programs
	stopped  context.Context
	cancel   context.CancelFunc
	seen     atomic.Uint64
}

// stop ends it at the next packet, and the waiting for one.
func (f *fileFeed) stop() { f.cancel() }

// open returns the file's bytes as they come, and what ends the reading.
func (f *fileFeed) open(stdin io.Reader) (src io.Reader, end func(), err error) {
	if f.w.read == "-" {
		return stdin, func() {}, nil
	}
	h, err := openToRead(f.w.read)
	if err != nil {
		return nil, nil, err
	}
	info, err := h.Stat()
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	end = func() { _ = h.Close() }
	if !info.Mode().IsRegular() {
		return h, end, nil
	}
	if f.w.follow {
		return newFollower(f.stopped, h), end, nil
	}
	// Under a screen of packets, or beside a pager's, there is no place for it.
	if out, ok := f.p.out.(*os.File); !ok || !isRegular(out) {
		return h, end, nil
	}
	bar := newProgress(f.w.screen, filepath.Base(f.w.read), info.Size())
	return bar.reader(h), func() { bar.end(); _ = h.Close() }, nil
}

func isRegular(h *os.File) bool {
	info, err := h.Stat()
	return err == nil && info.Mode().IsRegular()
}

// A flushReader prints what is shown before it reads on, as that may take long.
type flushReader struct {
	src io.Reader
	p   *printer
}

func (r flushReader) Read(b []byte) (int, error) {
	if err := r.p.flush(); err != nil {
		return 0, err
	}
	return r.src.Read(b)
}

func (f *fileFeed) run() error {
	err := f.packets()
	printed := f.p.flush()
	switch {
	case printed != nil, err == nil, err == io.EOF, f.stopped.Err() != nil:
		return nil // the printer tells
	case errors.Is(err, io.ErrUnexpectedEOF) && strings.HasSuffix(f.w.read, store.Partial):
		f.w.notice("read %s: after %s: %v: the file is not finished; -f follows it", quoted(f.w.read), plural(f.seen.Load(), "packet"), err)
		return nil
	}
	return fmt.Errorf("read %s: after %s: %w", quoted(f.w.read), plural(f.seen.Load(), "packet"), err)
}

// packets shows the packets up to an error.
func (f *fileFeed) packets() error {
	src, err := uncompressed(f.src)
	if err != nil {
		return err
	}
	rd, err := pcap.NewReader(src)
	if err != nil {
		return err
	}
	names := make(origins)
	for f.stopped.Err() == nil {
		p, err := rd.Next()
		if err != nil {
			return err
		}
		f.seen.Add(1)
		link := rd.Interface().LinkType
		if ok, err := f.programs.match(link, &p); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		p.Data = p.Data[:min(len(p.Data), f.w.snaplen)]
		if err := f.p.show(names.of(rd, &p), &p); err != nil {
			return err
		}
	}
	return nil
}

// origins are those of a file's packets, by the number of the interface in the
// file and in the packet.
type origins map[[2]uint32]*origin

func (all origins) of(rd *pcap.Reader, p *pcap.Packet) *origin {
	in := rd.Interface()
	index, cooked := cookedIndex(in.LinkType, p.Data)
	key := [2]uint32{uint32(rd.InterfaceID()), index}
	o := all[key]
	if o == nil {
		name := in.Name
		if cooked {
			name = unnamed(index)
		}
		if len(all) >= maxOthers {
			clear(all)
		}
		o = newOrigin(name, in.LinkType)
		all[key] = o
	}
	return o
}
