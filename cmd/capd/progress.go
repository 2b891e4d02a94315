package main

import (
	"capd/ledger"
	"fmt"
	"io"
	"strings"
	"time"
)

// barWidth is how many columns the bar has where there is room.
const barWidth = 30

// redraw is the least time between two pictures of a bar, and from the
// beginning to the first: what is done sooner needs none.
const redraw = 100 * time.Millisecond

// A progress shows how far long work on bytes has come, as a bar on a terminal
// and not at all elsewhere. One goroutine uses it.
type progress struct {
	screen *screen
	what   string
	total  int64 // bytes; 0 is unknown
	done   int64
	begun  time.Time
	drawn  time.Time
}

// newProgress begins work of which what is the name, such as a file's.
func newProgress(s *screen, what string, total int64) *progress {
	now := time.Now()
	return &progress{screen: s, what: what, total: total, begun: now, drawn: now}
}

// add tells that n bytes more are done.
func (p *progress) add(n int) {
	p.done += int64(n)
	if !p.screen.terminal() {
		return
	}
	if now := time.Now(); now.Sub(p.drawn) >= redraw {
		p.drawn = now
		p.screen.show(p.line(now.Sub(p.begun), p.screen.width()))
	}
}

// end takes the bar away.
func (p *progress) end() { p.screen.clear() }

// reader counts what is read from src.
func (p *progress) reader(src io.Reader) io.Reader { return progressReader{src, p} }

// ledger counts what is read of ledgers.
func (p *progress) ledger() ledger.ReadOptions {
	return ledger.ReadOptions{Begin: func(n int64) { p.total += n }, Read: p.add}
}

type progressReader struct {
	src io.Reader
	p   *progress
}

func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.src.Read(b)
	r.p.add(n)
	return n, err
}

// line is the picture after some time, for a terminal of the width, in ASCII.
func (p *progress) line(took time.Duration, width int) string {
	rate := float64(p.done) / max(took.Seconds(), 1e-9)
	if p.total <= 0 {
		return fmt.Sprintf("%s: %s, %s/s", plainName(p.what), bytesText(uint64(p.done)), bytesText(uint64(rate)))
	}
	part := min(float64(p.done)/float64(p.total), 1)
	text := fmt.Sprintf("%3.0f%% of %s, %s/s", 100*part, bytesText(uint64(p.total)), bytesText(uint64(rate)))
	if left := float64(p.total-p.done) / rate; p.done > 0 && left >= 0 && left < 1e8 {
		text += fmt.Sprintf(", %s left", time.Duration(left*float64(time.Second)).Round(time.Second))
	}
	name := plainName(p.what) + " "
	if width > 0 && len(name)+len(text)+1 >= width {
		name = "" // numbers say more
	}
	room := width - len(name) - len(text) - len("[] ") - 1
	if width == 0 {
		room = barWidth
	}
	if room < 5 {
		return name + text
	}
	room = min(room, barWidth)
	full := int(part * float64(room))
	return name + "[" + strings.Repeat("#", full) + strings.Repeat("-", room-full) + "] " + text
}

// plainName is a name in ASCII, quoted if it was anything else.
func plainName(name string) string {
	if q := fmt.Sprintf("%+q", name); q != `"`+name+`"` {
		return q
	}
	return name
}
