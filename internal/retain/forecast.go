package retain

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"capd/store"
)

// What ends the reach of files where no limit does it before.
const (
	ByDisk       Limit = "disk"   // it is full
	ByDiskInodes Limit = "inodes" // there are no more of them
)

// A Forecast predicts how far back the files of an interface will reach.
type Forecast struct {
	Interface string
	Oldest    time.Time     // begin of the oldest file
	Rate      float64       // bytes per second, measured over the recent files; 0: not known yet, and so is the rest
	Reach     time.Duration // at that rate; 0: no limit
	Limit     Limit         // the limit that acts first; empty: there is none
}

// A Stream is what comes into a directory from one interface.
type Stream struct {
	Interface string
	Limits    Limits  // of its own
	Rate      float64 // bytes per second; 0: not known
	Files     float64 // files per second
}

// A Stock is what a directory has already, and what its file system has. Without a Total of the
// space nothing is known of that.
type Stock struct {
	Bytes int64
	Files int
	Space store.Space
}

// A Rotation says when files end.
type Rotation struct {
	Size     int64         // bytes; 0: never
	Interval time.Duration // 0: never
	Lanes    int           // files that are written at a time, if they are several
}

// files returns how many files a second a rate makes.
func (r Rotation) files(rate float64) (files float64) {
	if r.Size > 0 {
		files = rate / float64(r.Size)
	}
	if r.Interval > 0 {
		files = max(files, float64(max(r.Lanes, 1))/r.Interval.Seconds())
	}
	return files
}

// lately is the shortest time over which the rate is measured, if there are files for as long.
const lately = time.Hour

// Predict returns a forecast for each interface that has files, sorted by name. What is held, or
// waits for a step, is not considered.
func Predict(now time.Time, files []File, policy Policy, space store.Space) []Forecast {
	rows := make(map[string][]*queued)
	for _, q := range order(now, files) {
		rows[q.Name.Interface] = append(rows[q.Name.Interface], q)
	}
	var streams []Stream
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		s := policy.Stream(name, 0)
		s.measure(now, rows[name], policy.rotation(name))
		streams = append(streams, s)
	}
	all := Outlook(policy.Directory, streams, StockOf(files, space))
	for i := range all {
		all[i].Oldest = rows[all[i].Interface][0].Name.Start
	}
	return all
}

// Stream returns what comes of an interface, or of those with a pattern, at a rate of bytes a second.
func (p *Policy) Stream(name string, rate float64) Stream {
	return Stream{Interface: name, Limits: p.of(name), Rate: rate, Files: p.rotation(name).files(rate)}
}

func (p *Policy) rotation(name string) Rotation {
	if p.Rotation == nil {
		return Rotation{}
	}
	return p.Rotation(name)
}

// measure takes the rates from the newest files of the interface, which must be sorted.
func (s *Stream) measure(now time.Time, row []*queued, rotation Rotation) {
	var bytes int64
	var finished int
	var since time.Duration
	for _, q := range slices.Backward(row) {
		if q.era > 0 || since >= lately {
			break
		}
		bytes += q.Size
		if !q.Partial {
			finished++
		}
		since = now.Sub(time.Unix(q.start, 0))
	}
	if since < time.Second || bytes == 0 {
		return
	}
	s.Rate = float64(bytes) / since.Seconds()
	s.Files = max(rotation.files(s.Rate), float64(finished)/since.Seconds())
}

// StockOf returns what the files are together.
func StockOf(files []File, space store.Space) Stock {
	return Stock{sizeOf(files), len(files), space}
}

// sizeOf returns how many bytes the files have together.
func sizeOf(files []File) (bytes int64) {
	for i := range files {
		bytes += files[i].Size
	}
	return bytes
}

// Outlook returns a forecast for each stream into a directory: which limit will act first, of those
// of the stream, those of the directory and the space of the file system, and how far back its files
// will reach then. A stream without a rate has an unknown future, and is not in that of the others.
func Outlook(limits Limits, streams []Stream, stock Stock) []Forecast {
	known := make([]fate, 0, len(streams))
	for i := range streams {
		if streams[i].Rate > 0 {
			known = append(known, fate{Stream: &streams[i], horizon: streams[i].own()})
		}
	}
	slices.SortStableFunc(known, func(a, b fate) int { return cmp.Compare(a.seconds, b.seconds) })
	shared, disk, floor := sharedBy(&limits, known, &stock)
	of := make(map[*Stream]horizon, len(known))
	for _, f := range known {
		h := f.horizon.nearer(shared)
		h.seconds = max(h.seconds, floor)
		of[f.Stream] = h.nearer(disk)
	}
	all := make([]Forecast, len(streams))
	for i := range streams {
		s := &streams[i]
		all[i] = Forecast{Interface: s.Interface, Rate: s.Rate}
		if h := of[s]; h.limit != "" {
			all[i].Reach, all[i].Limit = h.reach(), h.limit
		}
	}
	return all
}

// A fate is a stream and how far back its own limits let its files reach.
type fate struct {
	*Stream
	horizon
}

// A horizon is how far back files reach, and what ends that.
type horizon struct {
	seconds float64
	limit   Limit
}

func (h horizon) nearer(o horizon) horizon {
	if o.seconds < h.seconds {
		return o
	}
	return h
}

// reach is the horizon as a duration, of which there are no more than some centuries.
func (h horizon) reach() time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	if h.seconds >= most.Seconds() {
		return most
	}
	return max(time.Duration(h.seconds*float64(time.Second)), 1)
}

// own returns the horizon of a stream by its own limits.
func (s *Stream) own() horizon {
	h := horizon{seconds: math.Inf(1)}
	if l := &s.Limits; l.Bytes > 0 {
		h = h.nearer(horizon{float64(l.Bytes) / s.Rate, ByBytes})
	}
	if n := s.Limits.Count; n > 0 && s.Files > 0 {
		h = h.nearer(horizon{float64(n) / s.Files, ByCount})
	}
	if age := s.Limits.Age; age > 0 {
		h = h.nearer(horizon{age.Seconds(), ByAge})
	}
	return h
}

func bytesOf(s *Stream) float64 { return s.Rate }
func countOf(s *Stream) float64 { return s.Files }

// sharedBy returns the horizon that limits of the directory set to all streams together, the one that
// the disk sets, and for how many seconds the newest files stay whatever limits say.
func sharedBy(l *Limits, known []fate, stock *Stock) (shared, disk horizon, floor float64) {
	shared, disk = horizon{seconds: math.Inf(1)}, horizon{seconds: math.Inf(1)}
	if l.Bytes > 0 {
		shared = shared.nearer(horizon{fill(float64(l.Bytes), known, bytesOf), ByBytes})
	}
	if l.Count > 0 {
		shared = shared.nearer(horizon{fill(float64(l.Count), known, countOf), ByCount})
	}
	if l.Age > 0 {
		shared = shared.nearer(horizon{l.Age.Seconds(), ByAge})
	}
	space := &stock.Space
	room, files := float64(stock.Bytes)+float64(space.Free), float64(stock.Files)+float64(space.FreeFiles)
	if space.Total > 0 {
		disk = disk.nearer(horizon{fill(room, known, bytesOf), ByDisk})
		if free := l.free(space.Total); free > 0 {
			shared = shared.nearer(horizon{fill(room-float64(free), known, bytesOf), ByMinFree})
		}
	}
	if space.Files > 0 {
		disk = disk.nearer(horizon{fill(files, known, countOf), ByDiskInodes})
		if free := l.freeFiles(space); free > 0 {
			shared = shared.nearer(horizon{fill(files-float64(free), known, countOf), ByInodes})
		}
	}
	var rate, count float64
	for _, f := range known {
		rate, count = rate+f.Rate, count+f.Files
	}
	floor = max(l.KeepAtLeast.Age.Seconds(), over(float64(l.KeepAtLeast.Bytes), rate), over(float64(l.KeepAtLeast.Count), count))
	return shared, disk, floor
}

// over is a quotient, and 0 if there is nothing to divide by.
func over(n, by float64) float64 {
	if by <= 0 {
		return 0
	}
	return n / by
}

// fill returns for how many seconds streams fill a room: each until its own limits begin to delete
// what is older. They are sorted by that. It is infinite if there is room for all that they keep.
func fill(room float64, known []fate, rate func(*Stream) float64) float64 {
	var growing, kept float64 // a second, and by the streams that no longer grow
	for _, f := range known {
		growing += rate(f.Stream)
	}
	for _, f := range known {
		if growing <= 0 {
			break
		}
		if t := max(room-kept, 0) / growing; t <= f.seconds {
			return t
		}
		kept += rate(f.Stream) * f.seconds
		growing -= rate(f.Stream)
	}
	return math.Inf(1)
}
