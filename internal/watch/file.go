package watch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"capd/internal/read"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// file shows the packets of a file.
func (w *watcher) file(ctx context.Context, stdin io.Reader) error {
	stopped, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &fileFeed{watcher: w, filter: read.NewFilter(w.Filter), stopped: stopped, cancel: cancel}
	if err := f.open(stdin); err != nil {
		return err
	}
	defer f.close()
	interrupted, err := w.attend(ctx, []feed{f})
	w.printer.leave()
	why := w.printer.why()
	if errors.Is(why, errReaderGone) {
		return nil
	}
	f.close()
	if interrupted {
		w.say(text.Count(w.printer.shown.Load(), "packet") + " shown\n")
	}
	if s := w.printer.oddities(); s != "" {
		w.say(s)
	}
	return errors.Join(err, why)
}

// A fileFeed is the feed of a file.
type fileFeed struct {
	*watcher
	src     *read.File
	bar     *terminal.Progress // nil: none is shown
	filter  *read.Filter
	stopped context.Context
	cancel  context.CancelFunc
}

// stop ends it at the next packet, and the waiting for one.
func (f *fileFeed) stop() { f.cancel() }

// open opens the file. Packets are printed before more of it is read, as that
// may take long.
func (f *fileFeed) open(stdin io.Reader) error {
	o := read.Options{Through: func(src io.Reader) io.Reader { return flushReader{src, f.printer, f.progress} }}
	if f.File == "-" {
		f.src = read.New("-", stdin, o)
		return nil
	}
	if f.Follow {
		o.Follow = f.stopped
	}
	var err error
	if f.src, err = read.Open(f.File, o); err != nil {
		return err
	}
	// On a terminal or beside a pager there is no place for a bar.
	if out, ok := f.printer.out.(*os.File); ok && isRegular(out) && !f.Follow && f.src.Size() > 0 {
		f.bar = terminal.NewProgress(f.screen, filepath.Base(f.File), f.src.Size())
	}
	return nil
}

func (f *fileFeed) progress(n int) {
	if f.bar != nil {
		f.bar.Add(n)
	}
}

func (f *fileFeed) close() {
	if f.bar != nil {
		f.bar.End()
	}
	_ = f.src.Close()
}

func isRegular(h *os.File) bool {
	info, err := h.Stat()
	return err == nil && info.Mode().IsRegular()
}

// A flushReader prints what is shown before it reads on, and counts the bytes.
type flushReader struct {
	src   io.Reader
	p     *printer
	count func(int)
}

func (r flushReader) Read(b []byte) (int, error) {
	if err := r.p.flush(); err != nil {
		return 0, err
	}
	n, err := r.src.Read(b)
	r.count(n)
	return n, err
}

func (f *fileFeed) run() error {
	err := f.packets()
	printed := f.printer.flush()
	_, state := store.Cut(f.File)
	switch {
	case printed != nil, err == nil, err == io.EOF, f.stopped.Err() != nil:
		return nil // the printer knows why
	case errors.Is(err, io.ErrUnexpectedEOF) && state == store.Recording:
		f.notice("%v: the file is not finished; -f follows it", err)
		return nil
	}
	return err
}

// packets shows the packets up to an error.
func (f *fileFeed) packets() error {
	names := make(origins)
	for f.stopped.Err() == nil {
		p, err := f.src.Next()
		if err != nil {
			return err
		}
		if ok, err := f.filter.Match(f.src, &p); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		p.Data = p.Data[:min(len(p.Data), f.Snaplen)]
		if err := f.printer.show(names.of(f.src, &p), &p); err != nil {
			return err
		}
	}
	return nil
}

// origins are those of a file's packets, by the number of the interface in the
// file and in the packet.
type origins map[[2]uint32]*origin

func (all origins) of(src *read.File, p *pcap.Packet) *origin {
	in := src.Interface()
	index, cooked := cookedIndex(in.LinkType, p.Data)
	key := [2]uint32{uint32(src.InterfaceID()), index}
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
