package verify

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"capd/ledger"
	"capd/seal"
)

// A place is where a line is.
type place struct {
	file   string
	number int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.number) }

// A walk goes through the lines of the ledgers.
type walk struct {
	*Report
	opt *Options
	record
	keys  map[uint64]string // verification keys of epochs
	chain []cert
	logs  map[string]bool // that were met

	log    *seal.Log        // as the lines have it; nil before the first checkpoint, and behind what is not as it was sealed
	last   *seal.Checkpoint // of the last line that is a checkpoint, if it is signed as it should be; else nil
	begun  bool             // a checkpoint was met
	broken bool             // the last checkpoint's line is not as it was
	batch  []ledger.Entry   // lines from the last checkpoint's on
	places []place
	leaves seal.Frontier
	older  bool   // the log has lines before the first checkpoint that is there
	ours   bool   // a checkpoint has the name of a key that was given
	named  string // the name of the first checkpoint that has none
	ends   bool   // the last line before the last checkpoint is one of a stop
}

// ledgers reads the ledgers.
func (w *walk) ledgers(dir string) error {
	opt := ledger.ReadOptions{Begin: w.opt.Begin, Read: w.opt.Read}
	for line, err := range ledger.Lines(dir, opt) {
		if err != nil {
			return err
		}
		w.line(&line)
	}
	return nil
}

func (w *walk) line(l *ledger.Line) {
	here := place{l.File, l.Number}
	if l.Err == nil && l.Entry.Kind == ledger.KindSeal {
		w.checkpoint(l, here)
	}
	if !w.begun {
		if l.Err == nil {
			w.claim(&l.Entry, "it was recorded before sealing began")
		}
		return
	}
	if w.log != nil {
		w.log.Append(l.Bytes)
	}
	w.leaves.Append(seal.LeafHash(l.Bytes))
	e := l.Entry // without anything if it is no line of a ledger
	w.batch, w.places = append(w.batch, e), append(w.places, here)
}

// checkpoint judges the lines before a line of KindSeal, and begins with it anew.
func (w *walk) checkpoint(l *ledger.Line, here place) {
	signed, err := l.Entry.Checkpoint()
	var c *seal.Checkpoint
	if err == nil {
		c, err = seal.Peek(signed)
	}
	if err == nil && len(w.given(c.Origin)) > 0 {
		w.ours = true
	} else if err == nil && w.named == "" {
		w.named = c.Origin
	}
	switch {
	case err != nil:
		w.refuse(here, Changed, "the checkpoint can't be read: %v", err)
	case !w.signed(c, signed):
		if w.before(c) {
			return
		}
		w.refuse(here, Forged, "no key to which the given one leads has signed the checkpoint, which says that it is of epoch %d", c.Epoch)
	default:
		w.sealed(c, l, here)
	}
}

// before reports whether the checkpoint is of an epoch before the one whose key
// was given.
func (w *walk) before(c *seal.Checkpoint) bool {
	if w.last != nil || len(w.keys) == 0 {
		return false
	}
	for epoch := range w.keys {
		if epoch <= c.Epoch {
			return false
		}
	}
	return true
}

// signed reports whether the key of its epoch has signed the checkpoint.
func (w *walk) signed(c *seal.Checkpoint, signed string) bool {
	key := w.keys[c.Epoch]
	if key == "" && len(w.keys) == 0 {
		key = signer(signed, w.given(c.Origin)) // there is no chain yet
	} else if _, err := seal.Verify(signed, key); err != nil {
		return false
	}
	if key == "" {
		return false
	}
	w.keys[c.Epoch] = key
	if c.Next != "" {
		if known := w.keys[c.Epoch+1]; known != "" && known != c.Next {
			return false
		}
		w.keys[c.Epoch+1] = c.Next
	}
	return true
}

// refuse notes that a checkpoint's line is not what it was, so that the lines
// before it are not proven.
func (w *walk) refuse(here place, what, format string, args ...any) {
	w.begun = true
	first := here.number
	if len(w.places) > 0 && w.places[0].file == here.file {
		first = w.places[0].number
	}
	w.Tampered = append(w.Tampered, Finding{What: what, File: here.file, First: first, Last: here.number, Why: fmt.Sprintf(format, args...)})
	w.settle("its line is among those that are not as they were sealed")
	w.last, w.broken, w.log = nil, true, nil
}

// settle ends a batch. Its lines are proven if why is empty.
func (w *walk) settle(why string) {
	for i := range w.batch {
		e := &w.batch[i]
		if why == "" {
			w.Unproven = append(w.Unproven, w.prove(e, w.places[i])...)
			w.Lines++
		} else {
			w.claim(e, why)
		}
	}
	w.batch, w.places, w.leaves = nil, nil, seal.Frontier{}
}

// sealed compares the lines before a checkpoint that is signed with it.
func (w *walk) sealed(c *seal.Checkpoint, l *ledger.Line, here place) {
	w.Checkpoints++
	w.logs[c.Log] = true
	state, _, _ := strings.Cut(c.Clock, " (")
	w.Clocks[state]++
	if w.Origin == "" {
		w.Origin, w.From = c.Origin, c.Time
	}
	w.record.at(c.Time)
	if l.Entry.Why != "" && !w.begun && c.Size == 0 {
		w.Unproven = append(w.Unproven, Finding{Missing, here.file, here.number, here.number, "capd began the log anew, and nothing of the one before is here: " + l.Entry.Why})
	} else if l.Entry.Why != "" {
		w.Tampered = append(w.Tampered, Finding{Changed, here.file, here.number, here.number, "capd began the log anew: " + l.Entry.Why})
	}
	switch begins := c.Size == 0; {
	case !w.begun:
		w.begun = true
		w.first(c, l, here)
	case begins || w.last != nil && w.last.Log != c.Log:
		w.anew(c, l, here)
	default:
		w.compare(c, here)
	}
	if log, err := seal.Resume(c, l.Entry.Frontier); err == nil && w.log == nil {
		w.log = log // the frontier has the root that is signed
	}
	if w.log != nil {
		w.log.Sealed()
	}
	w.ends = len(w.batch) > 0 && w.batch[len(w.batch)-1].Kind == ledger.KindStop
	w.settle("")
	w.last, w.broken, w.Until, w.Epoch = c, false, w.record.now, c.Epoch
}

// first is the first checkpoint: what is before it, was not sealed or is not there any more.
func (w *walk) first(c *seal.Checkpoint, l *ledger.Line, here place) {
	if c.Size > 0 && l.Entry.Frontier == "" {
		w.Tampered = append(w.Tampered, Finding{Missing, here.file, here.number, here.number, fmt.Sprintf("%d sealed lines were before the first checkpoint, and are not there", c.Size)})
	}
	w.older = c.Size > 0
	w.ended = !w.older
	w.batch, w.places, w.leaves = nil, nil, seal.Frontier{}
}

// anew begins another log.
func (w *walk) anew(c *seal.Checkpoint, l *ledger.Line, here place) {
	if l.Entry.Why == "" {
		w.Tampered = append(w.Tampered, Finding{Missing, here.file, here.number, here.number, "the log ends here, and another one begins"})
	}
	w.settle("no checkpoint follows its line")
	w.log = nil
	if c.Size > 0 && l.Entry.Frontier == "" {
		w.Tampered = append(w.Tampered, Finding{Missing, here.file, here.number, here.number, "the begin of the log is not there"})
	}
}

// compare compares the batch with its checkpoint.
func (w *walk) compare(c *seal.Checkpoint, here place) {
	if w.broken && w.last == nil && w.batchIs(c) {
		w.broken = false // the line of the checkpoint before is what it was after all, and of an unknown key
	}
	finding := func(what, format string, args ...any) {
		f := Finding{what, here.file, here.number, here.number, fmt.Sprintf(format, args...)}
		for i, p := range w.places { // those in the first of two ledgers: the next begins with a checkpoint
			if i == 0 {
				f.File, f.First = p.file, p.number
			}
			if p.file == f.File {
				f.Last = p.number
			}
		}
		if n, ok := ledger.Number(f.File); ok && what == Missing && f.File != here.file {
			f.Why += fmt.Sprintf(": the end of %s, or %s, or the begin of %s", f.File, ledger.OldName(n+1), here.file)
		}
		w.Tampered = append(w.Tampered, f)
		w.settle("its line is among those that are not as they were sealed")
		w.log = nil
	}
	n := int64(len(w.batch))
	switch {
	case w.last != nil && c.Size < w.last.Size+c.Lines:
		finding(Moved, "the checkpoint is of line %d, and that before it of line %d: checkpoints are twice there or in another order", c.Size, w.last.Size)
	case w.last != nil && c.Size > w.last.Size+c.Lines && n == c.Size-w.last.Size:
		finding(Changed, "a line that was a checkpoint was changed")
	case w.last != nil && c.Size > w.last.Size+c.Lines:
		finding(Missing, "%d sealed lines are missing before the last %d of these", c.Size-w.last.Size-c.Lines, c.Lines)
	case w.batchIs(c):
		w.order(c, here)
	case w.broken:
		last := &w.Tampered[len(w.Tampered)-1]
		if last.File == here.file {
			last.Last = here.number - 1
		}
		w.settle("its line is among those that are not as they were sealed")
		w.log = nil
	case n < c.Lines:
		finding(Missing, "%d of %d sealed lines are missing", c.Lines-n, c.Lines)
	case n > c.Lines:
		finding(Inserted, "%d lines are here, and %d were sealed", n, c.Lines)
	default:
		finding(Changed, "a line was changed, or lines were put in another order")
	}
}

// batchIs reports whether the batch is what the checkpoint has.
func (w *walk) batchIs(c *seal.Checkpoint) bool {
	return w.leaves.Len() == c.Lines && w.leaves.Root() == c.Batch
}

// order checks the place of a checkpoint whose batch is right.
func (w *walk) order(c *seal.Checkpoint, here place) {
	if w.last != nil {
		epoch := w.last.Epoch
		if w.last.Next != "" {
			epoch++
		}
		if c.Epoch != epoch {
			w.Tampered = append(w.Tampered, Finding{Forged, here.file, here.number, here.number, fmt.Sprintf("a key of epoch %d has signed it in epoch %d", c.Epoch, epoch)})
		}
	}
	if w.log != nil {
		if now := w.log.Checkpoint(); now.Root != c.Root || now.Size != c.Size {
			w.Tampered = append(w.Tampered, Finding{Changed, here.file, here.number, here.number, "the lines before are not those of the log"})
			w.log = nil
		}
	}
}

// finish judges what is behind the last checkpoint, and what ledgers are there.
func (w *walk) finish(entries []fs.DirEntry) {
	switch n := len(w.batch) - 1; {
	case w.last == nil && len(w.Tampered) == 0:
		w.unproven(Unsealed, ledger.FileName, "no checkpoint of the given key is in it")
	case n > 0:
		w.Unproven = append(w.Unproven, Finding{Open, w.places[n].file, w.places[1].number, w.places[n].number, fmt.Sprintf("%d lines are not yet sealed", n)})
	}
	if w.last != nil && !w.ends {
		w.unproven(Open, ledger.FileName, "the record ends at %s without the line of a stop: capd records, or it crashed, or the end was cut off", w.Until.Format(time.RFC3339))
	}
	if len(w.batch) > 0 {
		w.batch = w.batch[1:] // the line of the last checkpoint itself says nothing of files
	}
	w.settle("its line is not yet sealed")
	w.ends = w.ends && w.last != nil
	w.endOfChain()
	w.numbers(entries)
}

// endOfChain finds out whether the ledger ends before what the chain says, or
// the chain before the ledger.
func (w *walk) endOfChain() {
	if w.last == nil {
		return
	}
	known := uint64(0)
	for i := range w.chain {
		c := &w.chain[i]
		known = max(known, c.Epoch+1)
		if w.keys[c.Epoch] != "" && !w.logs[c.Log] {
			w.unproven(Missing, seal.ChainName, "up to %s another log was sealed, which is not here: the directory was replaced by another one, or what was in it was taken away", c.Time.Format(time.RFC3339))
			w.logs[c.Log] = true
		}
		if c.Log == w.last.Log && c.Size > w.last.Size {
			w.tampered(Cut, ledger.FileName, "%d lines were sealed at %s, and it ends with line %d", c.Size, c.Time.Format(time.RFC3339), w.last.Size)
			break
		}
	}
	least := slices.Min(slices.Collect(maps.Keys(w.keys)))
	if len(w.chain) > 0 && w.chain[0].Epoch > least {
		w.tampered(Missing, seal.ChainName, "it begins with epoch %d, and the given key is of epoch %d", w.chain[0].Epoch, least)
	}
	for i := range w.chain { // its begin may have been unreadable, and the ledger has led to the keys
		c := &w.chain[i]
		if _, err := seal.Verify(c.signed, w.keys[c.Epoch]); w.keys[c.Epoch] != "" && err != nil {
			w.tampered(Forged, seal.ChainName, "line %d: the key of epoch %d has not signed it", i+1, c.Epoch)
			break
		}
	}
	if w.last.Epoch > known {
		w.tampered(Cut, seal.ChainName, "the ledger has checkpoints of epoch %d, and the chain ends before epoch %d", w.last.Epoch, known)
	}
}

// numbers finds ledgers that are missing.
func (w *walk) numbers(entries []fs.DirEntry) {
	var numbers []uint64
	present := false
	for _, e := range entries {
		if n, ok := ledger.Number(e.Name()); ok {
			numbers = append(numbers, n)
		}
		present = present || e.Name() == ledger.FileName
	}
	if !present {
		w.tampered(Missing, ledger.FileName, "it is not there")
	}
	slices.Sort(numbers)
	for i := 1; i < len(numbers); i++ {
		if numbers[i] != numbers[i-1]+1 {
			w.tampered(Missing, ledger.OldName(numbers[i]-1), "it is not there, and older ones are")
		}
	}
	if !w.older {
		return
	}
	lawful := slices.ContainsFunc(slices.Collect(maps.Keys(w.gone)), func(name string) bool {
		n, ok := ledger.Number(name)
		return ok && (len(numbers) == 0 || n == numbers[0]-1)
	})
	if !lawful {
		before := uint64(1)
		if len(numbers) > 0 {
			before = max(numbers[0]-1, 1) // the first one itself may lack its begin
		}
		w.tampered(Missing, ledger.OldName(before), "the ledgers before the first one are not there, and no sealed line says that capd deleted them")
	}
}
