package terminal

import (
	"fmt"
	"io"
	"strings"
	"time"

	"capd/internal/text"
)

// barWidth is how many columns the bar has where there is room.
const barWidth = 30

// redraw is the least time between two pictures of a bar, and from the
// beginning to the first: what is done sooner needs none.
const redraw = 100 * time.Millisecond

// A Progress shows how far long work on bytes has come, as a bar on a terminal
// and not at all elsewhere. One goroutine uses it.
type Progress struct {
	screen *Screen
	what   string
	total  int64 // bytes; 0 is unknown
	done   int64
	begun  time.Time
	drawn  time.Time
}

// NewProgress begins work on a thing of that name, such as a file. A total of 0 is unknown.
func NewProgress(s *Screen, what string, total int64) *Progress {
	now := time.Now()
	return &Progress{screen: s, what: what, total: total, begun: now, drawn: now}
}

// Add says that n bytes more are done.
func (p *Progress) Add(n int) {
	p.done += int64(n)
	if !p.screen.IsTerminal() {
		return
	}
	if now := time.Now(); now.Sub(p.drawn) >= redraw {
		p.drawn = now
		p.screen.Show(p.line(now.Sub(p.begun), p.screen.width()))
	}
}

// End takes the bar away.
func (p *Progress) End() { p.screen.Clear() }

// Reader counts what is read from src.
func (p *Progress) Reader(src io.Reader) io.Reader { return progressReader{src, p} }

// Expect says that there are n bytes more to do.
func (p *Progress) Expect(n int64) { p.total += n }

type progressReader struct {
	src io.Reader
	p   *Progress
}

func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.src.Read(b)
	r.p.Add(n)
	return n, err
}

// line is the picture after some time, for a terminal of the width, in ASCII.
func (p *Progress) line(took time.Duration, width int) string {
	rate := float64(p.done) / max(took.Seconds(), 1e-9)
	if p.total <= 0 {
		return fmt.Sprintf("%s: %s, %s/s", text.ASCII(p.what), text.Size(p.done), text.Size(rate))
	}
	part := min(float64(p.done)/float64(p.total), 1)
	numbers := fmt.Sprintf("%3.0f%% of %s, %s/s", 100*part, text.Size(p.total), text.Size(rate))
	if left := float64(p.total-p.done) / rate; p.done > 0 && left >= 0 && left < 1e8 {
		numbers += fmt.Sprintf(", %s left", text.Duration(text.Seconds(left+0.5)))
	}
	name := text.ASCII(p.what) + " "
	if width > 0 && len(name)+len(numbers)+1 >= width {
		name = "" // numbers say more
	}
	room := width - len(name) - len(numbers) - len("[] ") - 1
	if width == 0 {
		room = barWidth
	}
	if room < 5 {
		return name + numbers
	}
	room = min(room, barWidth)
	full := int(part * float64(room))
	return name + "[" + strings.Repeat("#", full) + strings.Repeat("-", room-full) + "] " + numbers
}
