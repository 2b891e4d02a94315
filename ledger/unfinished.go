package ledger

import "iter"

// Unfinished is what a ledger says of files that were not finished, by name.
type Unfinished struct {
	Checkpoints map[string]Entry // the last one of each file, for Recover
	Failed      map[string]Entry // lines of files that ended, but not in order
}

// ReadUnfinished looks for unfinished files in a  Checkpoints of another
// boot are left out: what a file held then may never have reached the disk.
func ReadUnfinished(ledger iter.Seq2[Entry, error], boot string) Unfinished {
	u, present := Unfinished{make(map[string]Entry), make(map[string]Entry)}, false
	for e, err := range ledger {
		switch {
		case err != nil:
		case e.Kind == KindStart:
			if present = e.Boot == boot; !present {
				clear(u.Checkpoints)
			}
		case e.Kind == KindCheckpoint && present:
			u.Checkpoints[e.Name] = e
		case e.Kind == KindSalvaged:
			delete(u.Checkpoints, e.Name)
		case e.Kind == KindFile:
			delete(u.Checkpoints, e.Name)
			if e.Clean || e.Reason == ReasonSalvaged {
				delete(u.Failed, e.Name)
			} else {
				u.Failed[e.Name] = e
			}
		}
	}
	return u
}
