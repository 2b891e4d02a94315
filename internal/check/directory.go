package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"capd/config"
	"capd/internal/retain"
	"capd/internal/text"
	"capd/store"
)

// directory does in the directory what recording does. One that it makes goes again: it would be root's, and not that of
// the user who will record.
func (c *Checker) directory(dir string, mode config.FileMode, cfg *config.Config) {
	subject := "directory " + dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		defer os.Remove(dir)
	}
	space, err := store.Prove(dir, fs.FileMode(mode))
	if err != nil {
		c.Refuse(subject, err)
		return
	}
	err = lock(dir)
	if err != nil && !errors.Is(err, store.ErrInUse) {
		c.Refuse(subject, err)
		return
	}
	if err != nil {
		c.add(Warn, subject, hints(err), "%v", err)
	}
	contents, err := store.ReadContents(dir)
	if err != nil {
		c.Refuse(subject, err)
		return
	}
	how := "writes go past the page cache"
	if !space.Direct {
		how = "writes go through the page cache"
	}
	free := fmt.Sprintf("%s free of %s", text.Size(space.Free), text.Size(space.Total))
	if space.Files > 0 {
		free += fmt.Sprintf(", %d inodes free of %d", space.FreeFiles, space.Files)
	}
	c.add(OK, subject, "", "create, write, rename and delete work; %s, %s, %s; %s", space.FileSystem,
		free, how, text.Count(contents.Files, "finished file"))
	if n := len(contents.Partials); n > 0 {
		c.add(Warn, subject, "run finishes what is whole of them", "%s of an earlier run, such as %s",
			text.Count(n, "unfinished file"), contents.Partials[0])
	}
	if point, where := store.Unmounted(dir); point != "" {
		c.add(Warn, subject, "mount it first: files recorded until then are hidden under it. RequiresMountsFor="+dir+" in a drop-in makes the service wait for it",
			"%s says that a file system is mounted at %s, and none is: files go to the one below", where, point)
	}
	c.capacity(dir, cfg, space)
	if space.Free < 1<<30 {
		c.add(Warn, subject, "", "less than 1 GiB is free")
	}
	if few := uint64(1000); space.Files > 0 && space.FreeFiles < few {
		c.add(Warn, subject, "each file takes one: larger files need fewer; min_free keeps some free", "fewer than %d inodes are free", few)
	}
}

// lock takes the directory's lock and gives it back. Without the lock's file nobody can hold it: the file is not made, as it would
// stay.
func lock(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, store.LockName)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := store.LockDirectory(dir)
	if err != nil {
		return err
	}
	return l.Release()
}

// capacity says for how long what is recorded stays in the directory.
func (c *Checker) capacity(dir string, cfg *config.Config, space store.Space) {
	files, err := retain.Files(dir)
	if err != nil {
		c.add(Warn, "directory "+dir, "", "%v", err)
		return
	}
	policy := c.Policy(cfg)
	rotation := rotationIn(dir, cfg)
	var total float64
	for _, f := range retain.Predict(time.Now(), files, policy, space) {
		total += f.Rate
		if l := policy.Interface(f.Interface); f.Rate > 0 && l != (retain.Limits{}) {
			reach, limit := retain.Reach(f.Rate, l, rotation, files, space)
			c.add(OK, f.Interface, "", "at %s, the present rate of its files, its own limits keep %s%s", text.BitRate(f.Rate*8), text.Duration(reach), until(limit))
		}
	}
	held := func(rate float64) string {
		reach, limit := retain.Reach(rate, policy.Directory, rotation, files, space)
		return fmt.Sprintf("at %s %s%s", text.BitRate(rate*8), text.Duration(reach), until(limit))
	}
	if total > 0 {
		c.add(OK, "directory "+dir, "", "holds %s: the present rate", held(total))
		return
	}
	var parts []string
	for _, bits := range []float64{100e6, 1e9, 10e9} {
		parts = append(parts, held(bits/8))
	}
	c.add(OK, "directory "+dir, "", "holds %s: no rate is known yet", strings.Join(parts, "; "))
}

// rotationIn is that of the first interface that is recorded into the directory.
func rotationIn(dir string, cfg *config.Config) retain.Rotation {
	for i := range cfg.Interfaces {
		if r := &cfg.Interfaces[i].Recording; r.Directory == dir {
			return retain.Rotation{Size: int64(r.RotateSize), Interval: time.Duration(r.RotateInterval)}
		}
	}
	return retain.Rotation{}
}

func until(l retain.Limit) string {
	switch l {
	case retain.ByDisk:
		return " until the disk is full"
	case retain.ByDiskInodes:
		return " until the disk has no more inodes"
	}
	return " by " + string(l)
}
