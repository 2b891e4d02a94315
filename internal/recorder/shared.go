package recorder

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"capd/capture"
)

// Shared is what all recorders of a program share.
type Shared struct {
	Links  *Links
	Claims *Claims
	Quota  *Quota

	// Ask returns what the system says at this moment of the interface of that
	// index: Links may be older than a device.
	Ask func(index int) (capture.Interface, bool)

	Application string // what files name as their author, such as "capd 1.2.0"
	OS          string // name and release of the operating system
	Boot        string // id of the system's boot, for checkpoints
}

// A Snapshot is the list of interfaces at one moment. Nobody changes it once it
// is published.
type Snapshot struct {
	ByName map[string]capture.Interface
	Taken  func(name string) bool // whether an interface of that name is to be recorded by its own name

	once    sync.Once
	byIndex map[int]capture.Interface // made when it is asked for
}

// Find returns the interface of that index, or if it is 0 of that name.
func (s *Snapshot) Find(name string, index int) (capture.Interface, bool) {
	if index == 0 {
		link, ok := s.ByName[name]
		return link, ok
	}
	// Every recorder asks for its own after each change of any: they must not all
	// go through the list.
	s.once.Do(func() {
		s.byIndex = make(map[int]capture.Interface, len(s.ByName))
		for _, link := range s.ByName {
			s.byIndex[link.Index] = link
		}
	})
	link, ok := s.byIndex[index]
	return link, ok
}

// program returns the XDP program of the first interface by name that has one, and
// names the interface.
func (s *Snapshot) program() capture.XDP {
	for _, name := range slices.Sorted(maps.Keys(s.ByName)) {
		if x := s.ByName[name].XDP; x.Attached() {
			x.Name = strings.TrimSpace(x.Name + " on " + name)
			return x
		}
	}
	return capture.XDP{}
}

// Links has the newest Snapshot. One goroutine at a time publishes, anybody may
// read.
type Links struct {
	newest atomic.Pointer[Snapshot]
	looks  atomic.Uint64
}

// Load returns the newest snapshot.
func (l *Links) Load() *Snapshot { return l.newest.Load() }

// Publish makes a snapshot the newest one.
func (l *Links) Publish(s *Snapshot) { l.newest.Store(s) }

// Looked notes that the newest snapshot has been compared with the system: the
// interfaces are as it says.
func (l *Links) Looked() { l.looks.Add(1) }

// Looks returns how often that was so.
func (l *Links) Looks() uint64 { return l.looks.Load() }

// Claims say which recorder has which interface, so that one that gets another
// name is not recorded by two names at once.
type Claims struct {
	mu sync.Mutex // guards what follows; nothing else is called under it
	by map[*Recorder]claim
}

type claim struct {
	index   int  // of the interface; 0 for none
	leaving bool // others may have the interface
}

// NewClaims returns claims to no interface.
func NewClaims() *Claims { return &Claims{by: make(map[*Recorder]claim)} }

// claim has the recorder have the interface of that index, or returns false: it
// is to leave, or a recorder by another name has it.
func (c *Claims) claim(r *Recorder, index int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[r].leaving {
		return false
	}
	for other, has := range c.by {
		if index != 0 && has.index == index && !has.leaving && other.cfg.Lane.Interface != r.cfg.Lane.Interface {
			return false
		}
	}
	c.by[r] = claim{index: index}
	return true
}

// add has claims of a recorder, to no interface yet.
func (c *Claims) add(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[r] = claim{}
}

// share is claim for a recorder that takes over from those that have the
// interface.
func (c *Claims) share(r *Recorder, index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[r] = claim{index: index}
}

// drop gives the interface up.
func (c *Claims) drop(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(r, func(c *claim) { c.index = 0 })
}

// leave lets others have the interface, and the recorder have no other.
func (c *Claims) leave(r *Recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(r, func(c *claim) { c.leaving = true })
}

// change changes the claim of a recorder, unless it is forgotten. The caller
// holds mu.
func (c *Claims) change(r *Recorder, do func(*claim)) {
	if has, ok := c.by[r]; ok {
		do(&has)
		c.by[r] = has
	}
}

// forget ends the claims of a recorder that is no more.
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

// A Quota is a number of packets that recorders share.
type Quota struct {
	left    atomic.Int64
	limited bool
	reached chan struct{}
}

// NewQuota returns one of n packets; 0 is no limit.
func NewQuota(n uint64) *Quota {
	q := &Quota{limited: n > 0, reached: make(chan struct{})}
	q.left.Store(int64(min(n, 1<<62)))
	return q
}

// Reached is closed when all packets are recorded.
func (q *Quota) Reached() <-chan struct{} { return q.reached }

// take returns how many of n packets may be recorded.
func (q *Quota) take(n int) int {
	if !q.limited {
		return n
	}
	left := q.left.Add(-int64(n))
	if left > 0 {
		return n
	}
	if left+int64(n) > 0 {
		close(q.reached) // only the one that crosses zero comes here
	}
	return int(max(0, left+int64(n)))
}
