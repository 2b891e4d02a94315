package writer

import (
	"errors"
	"slices"
	"time"

	"capd/ledger"
	"capd/store"

	"golang.org/x/sys/unix"
)

// After a failed file, the writer pauses before it tries the next one. The pause doubles from
// firstPause to lastPause.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// diskCauses are the causes of an outage, as journals number them.
var diskCauses = []ledger.Cause{"", ledger.CauseDiskError, ledger.CauseDiskFull, ledger.CauseNoInodes, ledger.CauseReplaced}

// gapCursor returns the present outage.
func (w *Writer) gapCursor() gapCursor {
	if w.resume == 0 {
		return gapCursor{}
	}
	return gapCursor{cause: uint64(slices.Index(diskCauses, w.gap.Cause)), begin: stampOf(w.gap.Begin)}
}

// inheritOutage goes on with an outage in which an earlier Writer ended. The next try is made at once.
func (w *Writer) inheritOutage(g gapCursor) {
	if g.cause == 0 || g.cause >= uint64(len(diskCauses)) {
		return
	}
	w.gap = ledger.GapOpened(w.opt.Header.Interface, g.begin.time(), diskCauses[g.cause])
	w.pause, w.resume = firstPause, -1
	w.assessed = w.begun
	if w.file != nil {
		w.assessed--
	}
}

// checkDisk reacts to files that failed or succeeded on the disk since the last call: the current one,
// and ended ones whose result was not known yet.
func (w *Writer) checkDisk() {
	if w.file != nil && w.file.failed.Load() {
		w.rotate(ledger.ReasonError, w.schedule.wall)
	}
	if f := w.disk.failed.Load(); f != nil && f.number > w.assessed {
		w.suspend(f.failure())
		return
	}
	if w.resume != 0 && w.disk.wrote.Load() > w.assessed {
		w.opt.Log.Info("recording again")
		w.recovered(w.schedule.wall)
	}
}

// recovered closes the gap that a failed disk has made. The gap's entry counts the packets that
// were never encoded; those of the files that failed are in the entries of these files.
func (w *Writer) recovered(end time.Time) {
	if w.file != nil {
		end = w.file.report.Begin
	}
	w.opt.Note(ledger.GapClosed(w.gap, end, w.takeLost()))
	w.resume, w.pause = 0, 0
}

// suspend begins no new file until the next try, after a file failed. Packets are counted and
// dropped meanwhile. A current file that has not failed itself goes on: it serves as the try.
func (w *Writer) suspend(err error) {
	if w.resume == 0 {
		w.opt.Log.Error("disk failed: frames are counted and dropped until it works again", "error", err)
		w.gap = ledger.GapOpened(w.opt.Header.Interface, w.schedule.wall, diskCause(err))
		w.resume = w.schedule.mono + firstPause
		w.commitFile() // before the line: whoever goes on closes the gap
		w.opt.Note(w.gap)
	}
	w.assessed = w.begun
	if w.file != nil {
		w.assessed--
	}
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	w.resume = w.schedule.mono + w.pause
}

func diskCause(err error) ledger.Cause {
	if errors.Is(err, store.ErrReplaced) {
		return ledger.CauseReplaced
	}
	if errors.Is(err, store.ErrNoInodes) {
		return ledger.CauseNoInodes
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return ledger.CauseDiskFull
	}
	return ledger.CauseDiskError
}
