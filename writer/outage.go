package writer

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Pause after a failed file until the next is tried: it doubles from the first
// to the last.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// look takes note of how the current file fares on the disk.
func (w *Writer) look() {
	if w.file.failed.Load() {
		w.suspend()
		return
	}
	if w.resume == 0 {
		return
	}
	if w.file.written() {
		w.opt.Log.Info("recording again")
		w.recovered(w.file.report.Begin)
	}
}

// recovered ends the gap that a failed disk has made.
func (w *Writer) recovered(end time.Time) {
	w.gap.End, w.gap.Frames = end, w.lost-w.noted
	w.opt.Note(w.gap)
	w.noted = w.lost
	w.resume, w.pause = 0, 0
}

// suspend gives up a file that failed. Packets are counted and dropped until
// the next try.
func (w *Writer) suspend() {
	if err := w.file.failure(); w.resume == 0 {
		w.opt.Log.Error("disk failed: frames are counted and dropped until it works again", "error", err)
		w.gap = Entry{Kind: KindGap, Interface: w.opt.Header.Interface, Begin: w.schedule.wall, Cause: diskCause(err)}
		w.opt.Note(w.gap)
	}
	w.rotate(Error, w.schedule.wall)
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	w.resume = w.schedule.mono + w.pause
}

func diskCause(err error) Cause {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return CauseDiskFull
	}
	return CauseDiskError
}
