package daemon

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// mostEnded is how many interfaces are remembered that are no longer recorded.
// Interfaces of containers have names that are never used again.
const mostEnded = 256

// others is the name under which forgotten interfaces are added up. No
// interface has this name, since names of interfaces have no space.
const others = "all others"

// fold adds up the interfaces that ended first under others, so that at most
// most names remain besides those in use. It returns the remaining statuses and
// the removed names.
func fold(ended []Status, used func(name string) bool, most int) (kept []Status, gone []string) {
	last := make(map[string]time.Time)
	for _, s := range ended {
		if s.Interface != others && !used(s.Interface) && s.Since.After(last[s.Interface]) {
			last[s.Interface] = s.Since
		}
	}
	names := slices.SortedFunc(maps.Keys(last), func(a, b string) int {
		return cmp.Or(last[a].Compare(last[b]), cmp.Compare(a, b))
	})
	gone = names[:max(0, len(names)-most)]
	for _, s := range ended {
		if slices.Contains(gone, s.Interface) {
			s.Interface, s.Lane, s.Directory, s.Filter = others, 0, "", ""
		}
		kept = append(kept, s)
	}
	return merge(kept), gone
}

// forget drops the samples of the interfaces.
func (s *sampler) forget(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.rows, name)
	}
}
