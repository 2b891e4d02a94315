package daemon

import (
	"capd/internal/restart"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"
)

// journals calls do with the journal of each recorder that goes on in the directory, and with what the names of its
// files have in common.
func (i *inheritance) journals(path string, do func(j *writer.Journal, of store.Name)) {
	if i == nil {
		return
	}
	for _, g := range i.groups {
		for _, s := range g.states {
			if j := journalOf(s); j != nil && (s.Settings.Directory == path || sameDirectory(s.Settings.Directory, path)) {
				do(j, nameIn(s))
			}
		}
	}
}

// unfinished returns the names of the files in the directory with which
// recorders go on.
func (i *inheritance) unfinished(path string) map[string]bool {
	return i.filesIn(path, (*writer.Journal).Unfinished)
}

// ended returns the names of the files in the directory that recorders which go
// on have finished, or finish yet.
func (i *inheritance) ended(path string) map[string]bool {
	return i.filesIn(path, (*writer.Journal).Ended)
}

func (i *inheritance) filesIn(path string, names func(*writer.Journal, store.Name) []store.Name) map[string]bool {
	all := make(map[string]bool)
	i.journals(path, func(j *writer.Journal, of store.Name) {
		for _, name := range names(j, of) {
			all[name.String()] = true
		}
	})
	return all
}

// recorded returns how many frames the recorders have recorded that go on.
func (i *inheritance) recorded() (n uint64) {
	if i == nil {
		return 0
	}
	for _, g := range i.groups {
		for _, s := range g.states {
			n += s.Recorded()
		}
	}
	return n
}

// failed returns the lines of files in the directory that failed shortly before the process before ended: the ledger may
// lack them.
func (i *inheritance) failed(path string) (all []ledger.Entry) {
	i.journals(path, func(j *writer.Journal, of store.Name) {
		for _, f := range j.Failed(of) {
			all = append(all, f.Entry())
		}
	})
	return all
}

// nameIn returns a name with what all files of the recorder have in common.
func nameIn(s *restart.State) store.Name {
	var f pcap.Format
	_ = f.UnmarshalText([]byte(s.Settings.Format))
	return store.Name{Interface: s.Lane.Interface, Lane: s.Lane.Number, Format: f}
}
