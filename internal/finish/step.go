package finish

import (
	"slices"

	"capd/store"
)

// Names of the steps: in marks, in the configuration, and to the reader.
const (
	Compress = "compress"
	Hook     = "hook"
)

// A step is one of the things that are done with each finished file. A further
// one is a type with these methods, and a line in makeSteps.
type step interface {
	// name returns the step's name.
	name() string

	// needs reports whether the step is still to be done for a file that is
	// there. It asks no disk and not the Directory, which may be locked.
	needs(f *store.File) bool

	// do does the step for the finished file of that name, in whatever form it
	// has. The error is errNothing when there was nothing to do.
	do(name string) (Outcome, error)
}

// Steps are in the order in which a file goes through them.
type steps []staffed

// A staffed step has workers: so many files are worked on at a time.
type staffed struct {
	step
	workers int
}

// next returns the number of the first step from the given one on that the file
// needs, or -1.
func (all steps) next(f *store.File, from int) int {
	if !f.HasData() {
		return -1
	}
	for i := from; i < len(all); i++ {
		if all[i].needs(f) {
			return i
		}
	}
	return -1
}

// pending returns the name of the first step that the finished file needs, of
// those named, if any are; empty if it needs none. A step that is not done here
// is needed.
func (all steps) pending(f *store.File, of []string) string {
	for _, s := range all {
		if (len(of) == 0 || slices.Contains(of, s.name())) && s.needs(f) {
			return s.name()
		}
	}
	for _, name := range of {
		if !slices.ContainsFunc(all, func(s staffed) bool { return s.name() == name }) {
			return name
		}
	}
	return ""
}

// makeSteps makes the steps and opens the marks of those that have some. Without
// such a step what an earlier one has done is forgotten: a hook that is set again
// later is for the files that come then.
func (q *Queue) makeSteps() error {
	q.steps = steps{{&compressStep{pack: q.pack, dir: q.dir, self: q.opt.Self, stop: q.stop, kill: q.kill}, 1}}
	if len(q.opt.Hook) == 0 {
		return store.RemoveMarks(q.dir.Path())
	}
	var present []store.Name
	for f := range q.dir.All() {
		if f.HasData() {
			present = append(present, f.Name)
		}
	}
	var err error
	if q.marks, err = store.OpenMarks(q.dir.Path(), []string{Hook}, present); err != nil {
		return err
	}
	q.steps = append(q.steps, staffed{&hookStep{opt: &q.opt, marks: q.marks, kill: q.kill, settle: q.record}, q.opt.HookAtOnce})
	return nil
}

// Next returns the name of the first step that has not succeeded for a finished
// file, of those named, if any are. It is empty if all have. A step that this
// Queue does not do has not succeeded. Next does not ask the Directory, which may
// be locked.
func (q *Queue) Next(f *store.File, of ...string) string { return q.steps.pending(f, of) }
