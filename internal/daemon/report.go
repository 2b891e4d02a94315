package daemon

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"capd/internal/control"
	"capd/internal/retain"
)

// An iface is the sum of all recorders of an interface, including ended ones.
type iface struct {
	name      string
	total     Status // counters
	state     State
	since     time.Time
	why       string // of state
	directory string
	filter    string
	xdp       string
	xdpUntil  time.Time
	files     []string
	ring      float64 // fill level of the fullest ring
	pool      float64
	poolHigh  float64
	ringSize  int64
	poolSize  int64
}

func (i *iface) sample(now time.Time) sample {
	c := countersOf(&i.total)
	return sample{at: now, packets: c.Received, bytes: c.Bytes, lost: c.Lost(), writes: i.total.Writer.Writes, syncs: i.total.Writer.Syncs}
}

// sample returns the counters, including those of the interfaces themselves.
// Reading these may block, so no lock is held, and no recorder's goroutine does
// it.
func (s *set) sample() []*iface {
	for _, m := range s.members() {
		m.Refresh()
	}
	return sumUp(s.status())
}

// sumUp adds up the recorders of each interface, ordered by name.
func sumUp(recorders []Status) []*iface {
	var all []*iface
	for _, s := range recorders {
		if len(all) == 0 || all[len(all)-1].name != s.Interface {
			all = append(all, &iface{name: s.Interface, state: s.State, since: s.Since, why: s.Why})
		}
		all[len(all)-1].add(&s)
	}
	return all
}

// add adds a recorder.
func (i *iface) add(s *Status) {
	i.total.Add(s)
	w := &s.Writer
	i.poolHigh = max(i.poolHigh, part(w.HighChunks, w.Chunks))
	i.directory, i.filter = s.Directory, s.Filter
	if s.XDP != "" {
		i.xdp = s.XDP
	}
	if s.XDPUntil.After(i.xdpUntil) {
		i.xdpUntil = s.XDPUntil
	}
	if s.State == Ended && i.state != Ended {
		return // an ended recorder has no present state
	}
	if i.state == Ended || badness(s.State) > badness(i.state) {
		i.state, i.since, i.why = s.State, s.Since, s.Why
	}
	if s.State == Ended {
		return
	}
	if w.File != "" {
		i.files = append(i.files, w.File)
	}
	i.ring = max(i.ring, part(s.RingFilled, s.RingBlocks))
	i.pool = max(i.pool, part(w.Chunks-w.FreeChunks, w.Chunks))
	i.ringSize += s.RingSize
	i.poolSize += s.PoolSize
}

func part(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// badness orders the states of running recorders.
func badness(s State) int {
	return slices.Index([]State{Ended, Recording, Waiting, Down, Suspended}, s)
}

// Report returns the status in the form of the control socket.
func (d *Daemon) Report() control.Status {
	all := sumUp(d.Status())
	now := time.Now()
	s := control.Status{
		Version: control.Version, Software: d.opt.Application, PID: os.Getpid(), Time: now, Start: d.start,
		Config: d.config.Load().Digest(), Interfaces: []control.Interface{}, Directories: []control.Directory{},
	}
	kept := d.kept.look(now, d.dirs.present())
	for _, k := range kept {
		dir := k.directory // what is kept belongs to all who ask at the same time
		dir.Problem = k.of.presence.get()
		s.Directories = append(s.Directories, dir)
	}
	there := d.manager.interfaces.there()
	for _, i := range all {
		out := control.Interface{
			Name: i.name, Others: there.others(i.name), State: string(i.state), Since: i.since, Why: i.why, Directory: i.directory, Filter: i.filter, XDP: i.xdp, XDPUntil: i.xdpUntil,
			Unread:   i.total.Unread,
			Files:    append([]string{}, i.files...),
			Counters: countersOf(&i.total),
			Ring:     control.Fill{Now: i.ring, Size: i.ringSize},
			Pool:     control.Fill{Now: i.pool, High: i.poolHigh, Size: i.poolSize},
		}
		out.Growing = d.dirs.listed.growing(i.name, &out.Counters)
		d.rates.describe(now, d.start, i, &out)
		for _, k := range kept {
			if k.of == d.dirs.at(i.directory) {
				out.Kept = k.interfaces[i.name]
			}
		}
		s.Interfaces = append(s.Interfaces, out)
	}
	return s
}

// keptAge is how old the report of the files may be: a directory may have very
// many files.
const keptAge = 2 * time.Second

// contents caches what the directories hold.
type contents struct {
	mu   sync.Mutex
	at   time.Time
	dirs []*kept
}

// kept describes the files of a directory.
type kept struct {
	directory  control.Directory
	of         *directory
	interfaces map[string]control.Kept
}

// look describes the files of the directories, ordered by path.
func (s *contents) look(now time.Time, dirs []*directory) []*kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && now.Sub(s.at) < keptAge {
		return s.dirs
	}
	s.at, s.dirs = now, nil
	for _, d := range dirs {
		s.dirs = append(s.dirs, keptIn(d))
	}
	slices.SortFunc(s.dirs, func(a, b *kept) int { return strings.Compare(a.directory.Path, b.directory.Path) })
	return s.dirs
}

// forget makes the next look read the directories again.
func (s *contents) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

func keptIn(d *directory) *kept {
	stats := d.keeper.Stats()
	k := &kept{
		directory: control.Directory{
			Path: d.path, Files: stats.Files, Bytes: stats.Bytes, Held: stats.Held,
			Deleted: stats.Deleted, DeletedBytes: stats.DeletedBytes, Free: stats.Space.Free, Total: stats.Space.Total,
			FreeInodes: stats.Space.FreeFiles, Inodes: stats.Space.Files,
			Floor: stats.Floor, Pause: d.pause, Waiting: waiting(&stats),
			Holds: control.Holds{
				Bytes: stats.Burden.Bytes, Warn: stats.Burden.Warn, Over: stats.Burden.Over, Interface: stats.Burden.Interface, Limit: string(stats.Burden.Limit),
			},
		},
		of:         d,
		interfaces: make(map[string]control.Kept),
	}
	for _, f := range d.keeper.Forecast() {
		k.interfaces[f.Interface] = control.Kept{Oldest: f.Oldest, Rate: f.Rate, Reach: f.Reach.Seconds(), Limit: string(f.Limit)}
	}
	for _, f := range d.keeper.Files() {
		k.interfaces[f.Name.Interface] = count(k.interfaces[f.Name.Interface], &f)
	}
	return k
}

// waiting returns how many files wait for each step.
func waiting(s *retain.Stats) []control.StepWait {
	all := []control.StepWait{}
	for step, files := range s.Pending {
		all = append(all, control.StepWait{Step: step, Files: files})
	}
	for _, y := range s.Yields {
		i := slices.IndexFunc(all, func(w control.StepWait) bool { return w.Step == y.Step })
		if i < 0 { // all of these files wait for an earlier step first
			i = len(all)
			all = append(all, control.StepWait{Step: y.Step})
		}
		all[i].Kept, all[i].Limit = y.Files, string(y.Limit)
	}
	slices.SortFunc(all, func(a, b control.StepWait) int { return strings.Compare(a.Step, b.Step) })
	return all
}

func count(k control.Kept, f *retain.File) control.Kept {
	k.Bytes += f.Size
	if !f.Partial {
		k.Files++
	}
	if f.Held {
		k.Held++
	}
	if k.Oldest.IsZero() {
		k.Oldest = f.Name.Start
	}
	return k
}
