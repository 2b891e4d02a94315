package recorder

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"capd/capture"
)

// Shared is what all recorders of a program have in common.
type Shared struct {
	Links  *Links
	Claims *Claims
	Quota  *Quota

	// Ask returns the present state of the interface with that index, from the
	// system: a Snapshot may be older than a device.
	Ask func(index int) (capture.Interface, bool)

	// Leave is set if recorders that end are to leave their rings to the next
	// process; nil: always, where the rings outlive this one.
	Leave *atomic.Bool

	Application string // name and version of the program, for file headers, such as "capd 1.2.0"
	OS          string // name and release of the operating system
	Boot        string // id of the system's boot, for checkpoints
}

// A Snapshot is the list of interfaces at one moment. It does not change once
// it is published.
type Snapshot struct {
	ByName map[string]capture.Interface // by each of its names
	Taken  func(names ...string) bool   // whether the configuration has a recorder for an interface of these names

	once    sync.Once
	byIndex map[int]capture.Interface // made at the first Find by index
}

// Find finds an interface by its index, or by its name if the index is 0.
func (s *Snapshot) Find(name string, index int) (capture.Interface, bool) {
	if index == 0 {
		link, ok := s.ByName[name]
		return link, ok
	}
	// Every recorder asks for its interface after each change of any interface. A
	// walk through the list for each of them would make that quadratic.
	s.once.Do(func() {
		s.byIndex = make(map[int]capture.Interface, len(s.ByName))
		for _, link := range s.ByName {
			s.byIndex[link.Index] = link
		}
	})
	link, ok := s.byIndex[index]
	return link, ok
}

// program returns the XDP program of the first interface, in order of names,
// that has one. The name of the program includes that of the interface.
func (s *Snapshot) program() capture.XDP {
	for _, name := range slices.Sorted(maps.Keys(s.ByName)) {
		if x := s.ByName[name].XDP; x.Attached() {
			x.Name = strings.TrimSpace(x.Name + " on " + s.ByName[name].Name)
			return x
		}
	}
	return capture.XDP{}
}

// Links holds the newest Snapshot. One goroutine at a time publishes, any may
// read.
type Links struct {
	newest atomic.Pointer[Snapshot]
	looks  atomic.Uint64
}

// Load returns the newest snapshot.
func (l *Links) Load() *Snapshot { return l.newest.Load() }

// Publish makes a snapshot the newest one.
func (l *Links) Publish(s *Snapshot) { l.newest.Store(s) }

// Looked counts a look: the newest snapshot has been compared with the system
// and is up to date.
func (l *Links) Looked() { l.looks.Add(1) }

// Looks returns the number of looks.
func (l *Links) Looks() uint64 { return l.looks.Load() }

// Claims record which recorder has which interface, so that an interface that
// was renamed is not recorded under two names at once.
type Claims struct {
	mu sync.Mutex // guards what follows; no other lock is taken while it is held
	by map[*Recorder]claim
}

type claim struct {
	index   int  // of the interface; 0 for none
	leaving bool // other recorders may claim the interface
}

// NewClaims returns an empty set of claims.
func NewClaims() *Claims { return &Claims{by: make(map[*Recorder]claim)} }

// claim claims the interface of that index for the recorder. It returns false
// if the recorder is leaving, or if a recorder of another name has claimed the
// interface.
func (c *Claims) claim(r *Recorder, index int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[r].leaving || c.takenBy(r, index) {
		return false
	}
	c.by[r] = claim{index: index}
	return true
}

// taken reports whether a recorder of another name has claimed the interface.
func (c *Claims) taken(r *Recorder, index int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takenBy(r, index)
}

// takenBy is taken. The caller holds mu.
func (c *Claims) takenBy(r *Recorder, index int) bool {
	if index == 0 {
		return false
	}
	for other, has := range c.by {
		if has.index == index && !has.leaving && other.cfg.Lane.Interface != r.cfg.Lane.Interface {
			return true
		}
	}
	return false
}

// add adds a recorder that has no interface yet.
func (c *Claims) add(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[r] = claim{}
}

// share claims an interface for a recorder whose predecessors have claimed it
// too.
func (c *Claims) share(r *Recorder, index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[r] = claim{index: index}
}

// drop gives up the recorder's claim to its interface.
func (c *Claims) drop(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(r, func(c *claim) { c.index = 0 })
}

// leave lets other recorders claim the interface, and keeps this one from
// claiming any.
func (c *Claims) leave(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(r, func(c *claim) { c.leaving = true })
}

// change changes the claim of a recorder if it is known. The caller holds mu.
func (c *Claims) change(r *Recorder, do func(*claim)) {
	if has, ok := c.by[r]; ok {
		do(&has)
		c.by[r] = has
	}
}

// forget removes a recorder that has ended.
func (c *Claims) forget(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, r)
}

func (c *Claims) index(r *Recorder) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[r].index
}

// A Quota is a number of packets that all recorders together may record.
type Quota struct {
	left    atomic.Int64
	limited bool
	reached chan struct{}
}

// NewQuota returns a quota of n packets; 0 means no limit.
func NewQuota(n uint64) *Quota {
	q := &Quota{limited: n > 0, reached: make(chan struct{})}
	q.left.Store(int64(min(n, 1<<62)))
	return q
}

// Reached is closed when the quota is used up.
func (q *Quota) Reached() <-chan struct{} { return q.reached }

// Use says that n packets were recorded before.
func (q *Quota) Use(n uint64) {
	if n > 0 {
		q.take(int(min(n, 1<<62)))
	}
}

// take reserves up to n packets and returns how many may be recorded.
func (q *Quota) take(n int) int {
	if !q.limited {
		return n
	}
	left := q.left.Add(-int64(n))
	if left > 0 {
		return n
	}
	if left+int64(n) > 0 {
		close(q.reached) // exactly one call crosses zero
	}
	return int(max(0, left+int64(n)))
}
