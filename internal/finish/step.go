package finish

import (
	"slices"

	"capd/store"
)

// Names of the steps, in marks, in the configuration and in reports.
const (
	Seal     = "seal"
	Index    = "index"
	Compress = "compress"
	Hook     = "hook"
)

// A step is a kind of work that is done once for each finished file. To add a
// step, write a type with these methods and add it to makeSteps.
type step interface {
	// name returns the step's name.
	name() string

	// needs reports whether the step is still to be done for an existing file.
	// It uses neither the disk nor the Directory, whose lock may be held.
	needs(f *store.File) bool

	// do does the step for the finished file of that name, compressed or not.
	// The error is errNothing if there was nothing to do.
	do(name string) (Outcome, error)
}

// steps are in the order in which they are done for a file.
type steps []staffed

// A staffed step has a number of workers, each of which works on one file at a
// time.
type staffed struct {
	step
	workers  int
	optional bool // the next steps are done even if this one fails
}

// next returns the number of the first step, beginning at from, that the file
// needs; -1 if it needs none.
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

// pending returns the name of the first step that the finished file needs;
// empty if it needs none. If of is not empty, only the steps in it count, and
// one that this Queue does not have is needed.
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

// makeSteps makes the steps and opens the marks of those that have marks.
// Without such a step it removes the marks: a hook that is configured again
// later is for files that come after that.
func (q *Queue) makeSteps() error {
	process := helper{dir: q.dir, self: q.opt.Self, stop: q.stop, kill: q.kill}
	if q.opt.Undigested != nil {
		q.steps = append(q.steps, staffed{step: &sealStep{process, q.opt.Undigested}, workers: 1})
	}
	if q.opt.Index {
		q.steps = append(q.steps, staffed{step: &indexStep{process, q.opt.KeepFree, &q.recorded}, workers: 1, optional: true})
	}
	q.steps = append(q.steps, staffed{step: &compressStep{q.pack, process}, workers: 1})
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
	hook := &hookStep{opt: &q.opt, marks: q.marks, kill: q.kill, settle: q.record}
	q.steps = append(q.steps, staffed{step: hook, workers: q.opt.HookAtOnce})
	return nil
}

// Next returns the name of the first step that has not succeeded for a finished
// file; empty if all have. If of is not empty, only the steps in it count, and
// one that this Queue does not have has not succeeded. Next does not use the
// Directory, whose lock may be held.
func (q *Queue) Next(f *store.File, of ...string) string { return q.steps.pending(f, of) }
