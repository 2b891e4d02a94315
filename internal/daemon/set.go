package daemon

import (
	"maps"
	"slices"
	"sync"

	"capd/config"
	"capd/internal/recorder"
	"capd/internal/restart"
	"capd/store"
)

// A member is a recorder with the daemon's data about it.
type member struct {
	*recorder.Recorder
	lane     store.Lane
	dir      *directory
	pool     int64             // bytes for packets on their way to the disk
	state    *restart.State    // what it leaves to the next process; nil: nothing
	seen     *restart.Seen     // frames of those that it takes over from
	settings *config.Interface // present settings; guarded by manager.changing
	cancel   func()            // ends the recorder; set before the member is in the set
}

func (m *member) name() string { return m.lane.Interface }

// discard releases what a member holds that was never launched.
func (m *member) discard() {
	m.Discard()
	m.state.Forget()
	m.seen.Forget()
}

// A set has the recorders of a daemon: the present ones, those that leave, and
// the last status of those that have ended.
type set struct {
	mu      sync.Mutex // guards what follows; no recorder is called while it is held
	current map[store.Lane]*member
	leaving map[*member]bool // recorders that successors replace, or that end for good
	ended   []Status
}

func newSet() *set {
	return &set{current: make(map[store.Lane]*member), leaving: make(map[*member]bool)}
}

// at returns the recorder of the lane; nil if there is none.
func (s *set) at(lane store.Lane) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[lane]
}

// members returns the present recorders.
func (s *set) members() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.current))
}

// lanes returns the present recorders by the names of their interfaces.
func (s *set) lanes() map[string][]*member {
	lanes := make(map[string][]*member)
	for _, m := range s.members() {
		lanes[m.name()] = append(lanes[m.name()], m)
	}
	return lanes
}

// add adds a present recorder.
func (s *set) add(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current[m.lane] = m
}

// leave marks a recorder as leaving. It returns false if the recorder has
// ended.
func (s *set) leave(m *member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current[m.lane] != m {
		return false
	}
	delete(s.current, m.lane)
	s.leaving[m] = true
	return true
}

// leaves adds a recorder that leaves.
func (s *set) leaves(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving[m] = true
}

// retire keeps the last status of a recorder that has ended, and returns the
// names of interfaces that are forgotten to make room for it.
func (s *set) retire(m *member, last Status) (forgotten []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaving, m)
	if s.current[m.lane] == m {
		delete(s.current, m.lane)
	}
	used := make(map[string]bool)
	for lane := range s.current {
		used[lane.Interface] = true
	}
	for other := range s.leaving {
		used[other.name()] = true
	}
	s.ended, forgotten = fold(append(s.ended, last), func(name string) bool { return used[name] }, mostEnded)
	return forgotten
}

// quiet reports whether no recorder is leaving.
func (s *set) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.leaving) == 0
}

// directories returns the directories that recorders use.
func (s *set) directories() map[*directory]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := make(map[*directory]bool)
	for _, m := range s.current {
		used[m.dir] = true
	}
	for m := range s.leaving {
		used[m.dir] = true
	}
	return used
}

// status returns the status of all recorders by name, including ended ones. A
// recorder that ends in between is counted once.
func (s *set) status() []Status {
	s.mu.Lock()
	all := slices.Clone(s.ended)
	leaving := slices.Collect(maps.Keys(s.leaving))
	current := slices.Collect(maps.Values(s.current))
	s.mu.Unlock()
	for _, m := range append(leaving, current...) { // this order makes the state of the newest recorder count
		all = append(all, m.Status())
	}
	return merge(all)
}

// pools returns the sum of the pools of all other interfaces.
func (s *set) pools(except string) (sum int64) {
	for _, m := range s.members() {
		if m.name() != except {
			sum += m.pool
		}
	}
	return sum
}

// claims are the interfaces that have a recorder: names of recorders, and
// indexes of the interfaces that are open, whatever their names are now.
type claims struct {
	names   map[string]bool
	indexes map[int]bool
}

// recorded returns the interfaces that have a recorder.
func (s *set) recorded() claims {
	all := claims{make(map[string]bool), make(map[int]bool)}
	for _, m := range s.members() {
		all.names[m.name()] = true
		if index := m.Index(); index != 0 {
			all.indexes[index] = true
		}
	}
	return all
}
