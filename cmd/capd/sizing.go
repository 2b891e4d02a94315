package main

import (
	"capd/config"
	"capd/internal/daemon"
	"capd/internal/retain"
	"capd/store"
	"fmt"
	"strings"
	"time"
)

// sizing says for how long what is recorded stays in the directory.
func (c *checker) sizing(dir string, cfg *config.Config, space store.Space) {
	files, err := retain.Files(dir)
	if err != nil {
		c.add(levelWarn, "directory "+dir, "", "%v", err)
		return
	}
	policy := daemon.Policy(cfg)
	var used int64
	for i := range files {
		used += files[i].Size
	}
	rotation := rotationIn(dir, cfg)
	var total float64
	for _, f := range retain.Predict(time.Now(), files, policy, space) {
		total += f.Rate
		if l := policy.Interface(f.Interface); f.Rate > 0 && l != (retain.Limits{}) {
			reach, limit := retain.Reach(f.Rate, l, rotation, used, space)
			c.add(levelOK, f.Interface, "", "at %s, the present rate of its files, its own limits keep %s%s", bitRate(f.Rate*8), lasting(reach), until(limit))
		}
	}
	held := func(rate float64) string {
		reach, limit := retain.Reach(rate, policy.Directory, rotation, used, space)
		return fmt.Sprintf("at %s %s%s", bitRate(rate*8), lasting(reach), until(limit))
	}
	if total > 0 {
		c.add(levelOK, "directory "+dir, "", "holds %s: the present rate", held(total))
		return
	}
	var parts []string
	for _, bits := range []float64{100e6, 1e9, 10e9} {
		parts = append(parts, held(bits/8))
	}
	c.add(levelOK, "directory "+dir, "", "holds %s: no rate is known yet", strings.Join(parts, "; "))
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
	if l == retain.ByDisk {
		return " until the disk is full"
	}
	return " by " + string(l)
}

// lasting is a time to be read: its two largest units.
func lasting(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size && i < len(units)-1 {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		if i < len(units)-1 {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf(" %d %s", rest, units[i+1].name)
			}
		}
		return text
	}
	return ""
}
