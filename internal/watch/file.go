package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capd/internal/read"
	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"
	"capd/store"
)

// files shows the packets of files, one after the other.
func (w *watcher) files(ctx context.Context, stdin io.Reader) error {
	stopped, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &fileFeed{watcher: w, stdin: stdin, filter: read.NewFilter(w.Filter), stopped: stopped, cancel: cancel}
	if w.Write != "" && (!f.filter.TakesAll() || w.Count > 0) {
		f.comment = fmt.Sprintf("%s kept the packets that watch showed, of those that match %q; statistics are as they were before", w.Application, w.Filter)
	}
	f.follows = w.Follow && len(w.Files) == 1
	if err := f.open(w.Files[0]); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	err := w.attend(ctx, []feed{f})
	w.printer.leave()
	why := w.printer.why()
	saved := w.printer.finish(err, func(*saver) {})
	if errors.Is(why, errReaderGone) {
		return saved
	}
	w.screen.Clear() // of a bar
	if w.interrupted {
		w.summarize(text.Count(w.printer.shown.Load(), "packet") + " shown\n")
	}
	if s := w.printer.oddities(); s != "" {
		w.summarize(s)
	}
	return errors.Join(err, why, saved)
}

// A fileFeed is the feed of files.
type fileFeed struct {
	*watcher
	stdin   io.Reader
	src     *read.File         // that is read
	bar     *terminal.Progress // nil: none is shown
	filter  *read.Filter
	follows bool   // the file, as it is the last one that was named, or comes after that
	comment string // for sections that are saved; empty: all of them is
	stopped context.Context
	cancel  context.CancelFunc
}

// stop ends it at the next packet, and the waiting for one.
func (f *fileFeed) stop() { f.cancel() }

// open opens a file. Packets are printed before more of it is read, as that
// may take long.
func (f *fileFeed) open(path string) error {
	o := read.Options{Identities: f.Identities, Through: func(src io.Reader) io.Reader { return flushReader{src, f.printer, f.progress} }}
	if path == "-" {
		f.src = read.New("-", f.stdin, o)
		return nil
	}
	if f.waits(path) {
		o.Follow = f.stopped
	}
	var err error
	if f.src, err = read.Open(path, o); err != nil {
		return err
	}
	// On a terminal or beside a pager there is no place for a bar.
	if out, ok := f.printer.out.(*os.File); ok && isRegular(out) && !f.Follow && f.src.Size() > 0 {
		f.bar = terminal.NewProgress(f.screen, filepath.Base(path), f.src.Size())
	}
	return nil
}

// waits reports whether the file's end is waited at: a file that capd has finished
// does not grow.
func (f *fileFeed) waits(path string) bool {
	_, state, err := store.Parse(filepath.Base(path))
	return f.follows && (err != nil || state == store.Recording)
}

func (f *fileFeed) progress(n int) {
	if f.bar != nil {
		f.bar.Add(n)
	}
}

func (f *fileFeed) close() {
	if f.bar != nil {
		f.bar.End()
		f.bar = nil
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

// run shows the files that are named, the first of which is open, and those that
// follow the last one.
func (f *fileFeed) run() error {
	for i, path := range f.Files {
		if i > 0 {
			f.follows = f.Follow && i == len(f.Files)-1
			if err := f.open(path); err != nil {
				return err
			}
		}
		err := f.file(path)
		if f.follows {
			return f.goOn(path, err)
		}
		if err != nil || f.ended() {
			return err
		}
	}
	return nil
}

// file shows the packets of the open file, and closes it.
func (f *fileFeed) file(path string) error {
	defer f.close()
	err := f.packets()
	printed := f.printer.flush()
	_, state := store.Cut(path)
	switch {
	case printed != nil, err == nil, err == io.EOF, f.ended():
		return nil // the printer knows why
	case errors.Is(err, io.ErrUnexpectedEOF) && state == store.Recording && !f.follows:
		f.notice("%v: the file is not finished; -f follows it", err)
		return nil
	}
	return err
}

// ended reports whether nothing more is to be shown.
func (f *fileFeed) ended() bool {
	select {
	case <-f.printer.done:
		return true
	default:
		return f.stopped.Err() != nil
	}
}

// How often the next file is looked for, at first and at last.
const (
	lookSoon = 20 * time.Millisecond
	lookLate = time.Second
)

// goOn shows the files that a recorder writes after the one that was shown, which
// failed if that is an error.
func (f *fileFeed) goOn(path string, failed error) error {
	if _, _, err := store.Parse(filepath.Base(path)); err != nil {
		return failed
	}
	var bad error
	for {
		if failed != nil {
			f.notice("%v", failed)
			bad = ErrReported
		}
		next, err := f.next(path)
		switch {
		case f.ended():
			return bad
		case err != nil:
			return err
		case next.Missing > 0:
			f.notice("%s after %s, and before %s: deleted before they could be shown", text.Count(next.Missing, "file"), finishedName(path), finishedName(next.Path))
		}
		path = next.Path
		failed = f.file(path)
	}
}

// finishedName is the name that a file of capd's has or gets.
func finishedName(path string) string {
	n, _, _ := store.Parse(filepath.Base(path))
	return text.Name(n.String())
}

// next opens the next file as soon as there is one. What is renamed, compressed or
// deleted between two looks is looked for again, and what seems to be missing too,
// as a listing may lack what is renamed meanwhile.
func (f *fileFeed) next(path string) (read.Successor, error) {
	missed := 0
	for pause := lookSoon; !f.ended(); pause = min(2*pause, lookLate) {
		next, err := read.Next(path)
		if err != nil {
			return next, err
		}
		if next.Missing > 0 && missed < 3 {
			missed++
			next.Path, pause = "", lookSoon
		}
		if next.Path != "" {
			if err = f.open(next.Path); err == nil || !errors.Is(err, fs.ErrNotExist) {
				return next, err
			}
			pause = lookSoon
		}
		select {
		case <-f.stopped.Done():
		case <-f.printer.done:
		case <-time.After(pause):
		}
	}
	return read.Successor{}, nil
}

// packets shows the packets of the open file up to an error.
func (f *fileFeed) packets() error {
	header, err := f.src.Header()
	if err != nil {
		return err
	}
	ng := f.src.Format() == pcap.PCAPNG
	f.printer.save(func(s *saver) {
		if ng {
			s.begin(f.changed(header))
		} else {
			s.begin(nil)
			s.on(&origin{link: f.src.Interface().LinkType})
		}
	})
	names := make(origins)
	for f.stopped.Err() == nil {
		record, p, err := f.src.NextRecord()
		if err != nil {
			return err
		}
		if p != nil {
			if ok, err := f.filter.Match(f.src, p); err != nil {
				return err
			} else if !ok {
				continue
			}
		}
		if f.printer.saver == nil || !ng {
			record = nil
		} else {
			record = f.changed(record)
		}
		switch {
		case p != nil:
			if err := f.printer.show(names.of(f.src, p), p, record); err != nil {
				return err
			}
		case record != nil:
			f.printer.save(func(s *saver) { s.block(record) })
		}
	}
	return nil
}

// changed returns a record as it is saved.
func (f *fileFeed) changed(record []byte) []byte {
	if f.comment == "" {
		return record
	}
	return f.src.Translator().AppendChanged(nil, record, f.comment)
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
		o.saved = in.Name
		all[key] = o
	}
	return o
}
