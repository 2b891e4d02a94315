package daemon

import (
	"maps"
	"sync"

	"capd/internal/recorder"
)

// hold blocks the recorder of an interface between two batches until release is
// called: a published list says that the interface was renamed, and the
// recorder's question whether the new name is recorded does not return.
func (r *rig) hold(name string) (release func()) {
	r.t.Helper()
	r.await("recording", func() bool { return r.status(name).State == Recording })
	m := r.d.manager
	m.changing.Lock()
	defer m.changing.Unlock()
	there := maps.Clone(m.interfaces.there())
	link := there[name]
	delete(there, name)
	link.Name = "held"
	there[link.Name] = link
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.interfaces.news.Publish(&recorder.Snapshot{ByName: there, Taken: func(...string) bool {
		once.Do(func() { close(asked) })
		<-answer
		return true
	}})
	<-asked
	return func() { close(answer) }
}
