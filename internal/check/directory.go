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
	"capd/seal"
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
		c.Findings = append(c.Findings, inUse(dir, cfg, err))
	}
	contents, err := store.ReadContents(dir)
	if err != nil {
		c.Refuse(subject, err)
		return
	}
	how := string(space.Writes)
	if !cfg.WritesDirectly(dir) {
		how = `writes go through the page cache, as direct = "off"`
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
	if store.Discards(dir) {
		c.add(Warn, subject, "mount it without discard, and trim it once a week: systemctl enable --now fstrim.timer",
			"its file system is mounted with discard: each file that is deleted trims the disk at once, which can hold up writes for over a second")
	}
	c.capacity(dir, cfg, space)
	if space.Free < 1<<30 {
		c.add(Warn, subject, "", "less than 1 GiB is free")
	}
	if few := uint64(1000); space.Files > 0 && space.FreeFiles < few {
		c.add(Warn, subject, "each file takes one: larger files need fewer; min_free keeps some free", "fewer than %d inodes are free", few)
	}
}

// seals says whether what is recorded into the directory can be sealed.
func seals(c *Checker, dir string, cfg *config.Config) {
	if !cfg.Seal.Enabled {
		return
	}
	k, err := seal.Open(cfg.Seal.Keys, dir)
	if err != nil {
		c.Refuse("sealing", err)
		return
	}
	epoch, _ := k.Epoch()
	c.add(OK, "sealing", "", "what is recorded into %s is sealed, by a key of epoch %d that evolves every %v", dir, epoch, cfg.Seal.Evolve)
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

// capacity says for how long what is recorded stays in the directory, as status does later: for each interface that has files
// at their rate, and before there are any for some rates.
func (c *Checker) capacity(dir string, cfg *config.Config, space store.Space) {
	subject := "directory " + dir
	files, err := retain.Files(dir)
	if err != nil {
		c.add(Warn, subject, "", "%v", err)
		return
	}
	policy := c.Policy(cfg)
	known := false
	for _, f := range retain.Predict(time.Now(), files, policy, space) {
		if f.Rate > 0 {
			known = true
			c.add(OK, f.Interface, "", "at %s, the present rate of its files, they reach back %s", text.BitRate(f.Rate*8), reach(&f))
		}
	}
	if known {
		return
	}
	for _, name := range streamsInto(dir, cfg, policy) {
		var parts []string
		for _, bits := range []float64{100e6, 1e9, 10e9} {
			s := policy.Stream(name, bits/8)
			f := retain.Outlook(policy.Directory, []retain.Stream{s}, retain.StockOf(files, space))[0]
			parts = append(parts, fmt.Sprintf("at %s %s", text.BitRate(bits), reach(&f)))
		}
		of := ""
		if policy.Stream(name, 0).Limits != (retain.Limits{}) {
			of = " of " + text.Name(name)
		}
		c.add(OK, subject, "", "holds%s %s: no rate is known yet", of, strings.Join(parts, "; "))
	}
}

// streamsInto returns the names of the configuration whose files have a future of their own: those with limits, and the first of
// the others.
func streamsInto(dir string, cfg *config.Config, policy retain.Policy) (names []string) {
	others := false
	for i := range cfg.Interfaces {
		entry := &cfg.Interfaces[i]
		limited := policy.Stream(entry.Name, 0).Limits != (retain.Limits{})
		if entry.Directory != dir || others && !limited {
			continue
		}
		others = others || !limited
		names = append(names, entry.Name)
	}
	return names
}

// reach spells a forecast.
func reach(f *retain.Forecast) string {
	until := " by " + string(f.Limit)
	switch f.Limit {
	case retain.ByDisk:
		until = " until the disk is full"
	case retain.ByDiskInodes:
		until = " until the disk has no more inodes"
	case "":
		return "without a limit"
	}
	return text.Duration(f.Reach) + until
}
