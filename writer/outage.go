package writer

import (
	"capd/ledger"
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

// look takes note of how files fare on the disk: the current one, and those
// that ended before the disk said.
func (w *Writer) look() {
	if w.file != nil && w.file.failed.Load() {
		w.rotate(ledger.ReasonError, w.schedule.wall)
	}
	if f := w.disk.failed.Load(); f != nil && f.number > w.judged {
		w.suspend(f.failure())
		return
	}
	if w.resume != 0 && w.disk.wrote.Load() > w.judged {
		w.opt.Log.Info("recording again")
		w.recovered(w.schedule.wall)
	}
}

// recovered ends the gap that a failed disk has made, and tells what it cost
// beside the packets of the files that were tried: these have an entry each.
func (w *Writer) recovered(end time.Time) {
	if w.file != nil {
		end = w.file.report.Begin
	}
	w.opt.Note(ledger.GapClosed(w.gap, end, w.untold()))
	w.resume, w.pause = 0, 0
}

// suspend lets no file begin until the next try, after a file failed. Packets
// are counted and dropped meanwhile; a current file, which has not failed, goes
// on, and is itself the try.
func (w *Writer) suspend(err error) {
	if w.resume == 0 {
		w.opt.Log.Error("disk failed: frames are counted and dropped until it works again", "error", err)
		w.gap = ledger.GapOpened(w.opt.Header.Interface, w.schedule.wall, diskCause(err))
		w.opt.Note(w.gap)
	}
	w.judged = w.begun
	if w.file != nil {
		w.judged--
	}
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	w.resume = w.schedule.mono + w.pause
}

func diskCause(err error) ledger.Cause {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return ledger.CauseDiskFull
	}
	return ledger.CauseDiskError
}
