package retain

import (
	"maps"
	"slices"
	"time"

	"capd/store"
)

// A Forecast predicts how far back the files of an interface will reach.
type Forecast struct {
	Interface string
	Oldest    time.Time     // begin of the oldest file
	Rate      float64       // bytes per second, measured over the recent files
	Reach     time.Duration // at that rate; 0: no limit, or no rate yet
	Limit     Limit         // the limit that is reached first; empty if there is none
}

// lately is the shortest time over which the rate is measured, if there are files for as long.
const lately = time.Hour

// Predict returns a forecast for each interface, sorted by name. It does not consider what floors
// and held files keep beyond the limits.
func Predict(now time.Time, files []File, policy Policy, space store.Space) []Forecast {
	rows := make(map[string][]*queued)
	used := sizeOf(files)
	var total pace
	for _, q := range order(now, files) {
		rows[q.Name.Interface] = append(rows[q.Name.Interface], q)
	}
	paces := make(map[string]pace)
	for name, row := range rows {
		paces[name] = paceOf(now, row)
		total.bytes += paces[name].bytes
		total.files += paces[name].files
	}
	var all []Forecast
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		f := Forecast{Interface: name, Oldest: rows[name][0].Name.Start, Rate: paces[name].bytes}
		f.reach(policy.of(name), paces[name])
		f.reach(policy.Directory, total)
		if policy.Directory.free(space.Total) > 0 {
			f.disk(policy.Directory, total, used, len(files), &space, ByMinFree, ByInodes)
		}
		all = append(all, f)
	}
	return all
}

func (f *Forecast) reach(l Limits, p pace) {
	if l.Bytes > 0 {
		f.take(float64(l.Bytes), p.bytes, ByBytes)
	}
	if l.Count > 0 {
		f.take(float64(l.Count), p.files, ByCount)
	}
	if l.Age > 0 {
		f.take(l.Age.Seconds(), 1, ByAge)
	}
}

// take stores a limit's reach if it is the shortest so far.
func (f *Forecast) take(room, rate float64, limit Limit) {
	const most = 100 * 365 * 24 * time.Hour
	if rate <= 0 {
		return
	}
	reach := most
	if seconds := max(room, 0) / rate; seconds < most.Seconds() {
		reach = max(time.Duration(seconds*float64(time.Second)), 1)
	}
	if f.Limit == "" || reach < f.Reach {
		f.Reach, f.Limit = reach, limit
	}
}

// A pace is how fast an interface fills the disk, per second.
type pace struct{ bytes, files float64 }

// paceOf measures the newest files of an interface, which must be sorted.
func paceOf(now time.Time, row []*queued) pace {
	var bytes int64
	var files int
	var since time.Duration
	for _, q := range slices.Backward(row) {
		if q.era > 0 || since >= lately {
			break
		}
		bytes += q.Size
		files++
		since = now.Sub(time.Unix(q.start, 0))
	}
	if since < time.Second {
		return pace{}
	}
	return pace{float64(bytes) / since.Seconds(), float64(files) / since.Seconds()}
}
