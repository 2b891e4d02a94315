package retain

import (
	"time"

	"capd/store"
)

// ByDisk is the Limit of a Reach that only a full disk ends.
const ByDisk Limit = "disk"

// Files returns the capture files in a directory.
func Files(dir string) ([]File, error) {
	d, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	return filesOf(d, nil), nil
}

// A Rotation says when files end.
type Rotation struct {
	Size     int64         // bytes; 0: never
	Interval time.Duration // 0: never
}

// Reach returns how far back the files of a directory will reach if rate bytes per second are
// recorded, and which limit ends that. used is the size of the directory's files.
func Reach(rate float64, limits Limits, rotation Rotation, used int64, space store.Space) (time.Duration, Limit) {
	p := pace{bytes: rate}
	if rotation.Size > 0 {
		p.files = rate / float64(rotation.Size)
	}
	if rotation.Interval > 0 {
		p.files = max(p.files, 1/rotation.Interval.Seconds())
	}
	var f Forecast
	f.reach(limits, p)
	least, limit := limits.free(space.Total), ByMinFree
	if least == 0 {
		limit = ByDisk
	}
	f.take(float64(used)+float64(space.Free)-float64(least), rate, limit)
	return f.Reach, f.Limit
}
