package retain

import (
	"time"

	"capd/store"
)

// What ends a Reach where no limit does.
const (
	ByDisk       Limit = "disk"   // it is full
	ByDiskInodes Limit = "inodes" // there are no more of them
)

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

// Reach returns how far back the files of a directory will reach if so many
// bytes a second come into it, and what ends that. The files are those that it
// has already.
func Reach(rate float64, limits Limits, rotation Rotation, files []File, space store.Space) (time.Duration, Limit) {
	p := pace{bytes: rate}
	if rotation.Size > 0 {
		p.files = rate / float64(rotation.Size)
	}
	if rotation.Interval > 0 {
		p.files = max(p.files, 1/rotation.Interval.Seconds())
	}
	var f Forecast
	f.reach(limits, p)
	limit, inodes := ByMinFree, ByInodes
	if limits.free(space.Total) == 0 {
		limit, inodes = ByDisk, ByDiskInodes
	}
	f.disk(limits, p, sizeOf(files), len(files), &space, limit, inodes)
	return f.Reach, f.Limit
}

// sizeOf returns how many bytes the files have together.
func sizeOf(files []File) (bytes int64) {
	for i := range files {
		bytes += files[i].Size
	}
	return bytes
}

// disk takes what the file system has room for, of bytes and of files, beside
// what stays free.
func (f *Forecast) disk(limits Limits, p pace, bytes int64, files int, space *store.Space, limit, inodes Limit) {
	f.take(float64(bytes)+float64(space.Free)-float64(limits.free(space.Total)), p.bytes, limit)
	if space.Files > 0 {
		f.take(float64(files)+float64(space.FreeFiles)-float64(limits.freeFiles(space)), p.files, inodes)
	}
}
