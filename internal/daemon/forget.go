package daemon

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// mostEnded is how many interfaces are remembered that are recorded no more:
// those of containers have names that come once and never again.
const mostEnded = 256

// others is under which name the rest is added up. No interface has it: a space
// is not allowed in their names.
const others = "all others"

// fold adds up what is told of interfaces that ended first, so that no more than
// most names are left beside those in use, and returns the names that went.
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

// forget drops what was sampled of interfaces.
func (s *sampler) forget(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.rows, name)
	}
}
