package daemon

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"capd/config"
	"capd/internal/retain"
	"capd/ledger"
	"capd/store"
)

// sweepEvery is the time between two attempts to delete old ledgers that are no
// longer needed.
const sweepEvery = time.Hour

// Policy returns the retention policy that the configuration sets for a
// directory.
func Policy(c *config.Config) retain.Policy {
	r := &c.Retain
	return retain.Policy{
		Directory: retain.Limits{
			Bytes: int64(r.Bytes), Age: time.Duration(r.Age), Count: r.Count,
			MinFree: uint64(r.MinFree.Bytes), MinFreePart: r.MinFree.Percent / 100,
			KeepAtLeast: retain.Floor{Bytes: int64(r.KeepBytes), Age: time.Duration(r.KeepAge), Count: r.KeepCount},
		},
		HoldWarn: retain.Warning{Bytes: int64(r.HoldWarn.Bytes), Part: r.HoldWarn.Percent / 100},
		Interface: func(name string) retain.Limits {
			i := c.Lookup(name)
			if i == nil {
				return retain.Limits{}
			}
			return retain.Limits{Bytes: int64(i.RetainBytes), Age: time.Duration(i.RetainAge), Count: i.RetainCount}
		},
		Rotation: func(name string) retain.Rotation {
			i := c.Lookup(name)
			if i == nil {
				return retain.Rotation{}
			}
			return retain.Rotation{Size: int64(i.RotateSize), Interval: time.Duration(i.RotateInterval), Lanes: i.Fanout}
		},
	}
}

// keep makes the keeper of a directory.
func (d *directory) keep(c *config.Config, log *slog.Logger) {
	path := d.path
	d.keeper = retain.New(retain.Options{
		Directory: d.store, Policy: Policy(c), Log: log,
		Steps: d.finish.steps,
		Yields: func(y retain.Yield, begin, end time.Time) {
			if end.IsZero() {
				log.Warn("limits yield: files stay until a step has succeeded for them", "directory", path,
					"step", y.Step, "limit", string(y.Limit), "files", y.Files)
			} else {
				log.Info("limits no longer yield", "directory", path, "step", y.Step, "after", end.Sub(begin))
			}
			d.ledger.note(ledger.Yield(y.Step, string(y.Limit), begin, end))
		},
		Space:    func() (store.Space, error) { return store.FreeSpace(path) },
		Deleting: d.seals.deleting,
		Deleted: func(del retain.Deletion, err error) {
			if err != nil {
				log.Error("can't delete a file", "directory", path, "file", del.Name.String(), "error", err)
				return
			}
			if del.Pending == "" {
				log.Info("deleted a file", "directory", path, "file", del.Name.String(), "limit", string(del.Limit))
			} else {
				log.Warn("deleted a file for which a step had not succeeded", "directory", path, "file", del.Name.String(),
					"limit", string(del.Limit), "step", del.Pending)
			}
			d.ledger.note(del.Entry())
		},
	})
}

// run enforces the directory's limits until the context ends.
func (d *directory) run(ctx context.Context, log *slog.Logger) {
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		d.keeper.Run(ctx)
	}()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		d.sweep(log)
		select {
		case <-ctx.Done():
			<-kept
			return
		case <-tick.C:
		}
	}
}

// sweep deletes old ledgers whose files are all gone.
func (d *directory) sweep(log *slog.Logger) {
	if len(d.ledger.file.Old()) == 0 {
		return
	}
	removed, err := d.ledger.file.RemoveSpent(d.store.First())
	for _, name := range removed {
		log.Info("deleted an old ledger: all files that it has lines of are gone", "file", filepath.Join(d.path, name))
	}
	if err != nil {
		log.Error("can't delete an old ledger", "directory", d.path, "error", err)
	}
}
