package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"capd/config"
	"capd/internal/after"
	"capd/writer"
)

// background makes the queue of what is done with the directory's finished
// files; none if there is nothing to do.
func (d *directory) background(c *config.Config, self []string, log *slog.Logger) error {
	f := &c.Finished
	if f.Compress == config.CompressNone && len(f.Hook) == 0 {
		return nil
	}
	log = log.With("directory", d.path)
	var err error
	d.after, err = after.New(after.Options{
		Directory:   d.path,
		Compression: after.Compression(f.Compress),
		Level:       f.Level,
		KeepFree:    uint64(c.Retain.MinFree.Bytes),
		Self:        self,
		Hook:        f.Hook,
		HookTimeout: time.Duration(f.Timeout),
		HookAtOnce:  f.AtOnce,
		Log:         log,
		Report:      func(o after.Outcome) { d.report(o, log) },
	})
	if err != nil {
		return fmt.Errorf("directory %s: %w", d.path, err)
	}
	return nil
}

// report tells the ledger and retention what became of a file.
func (d *directory) report(o after.Outcome, log *slog.Logger) {
	if o.Step == after.RunHook {
		e := writer.Entry{Kind: writer.KindHook, Name: o.Name.String(), Interface: o.Name.Interface, Exit: o.ExitCode}
		if o.Err != nil {
			e.Why = o.Err.Error()
		}
		d.book.note(e)
	}
	if o.Err != nil {
		return // the queue logs it, and tries again
	}
	switch o.Step {
	case after.Compress:
		d.book.note(writer.Entry{
			Kind: writer.KindCompressed, Name: o.Name.String(), Interface: o.Name.Interface, Into: o.Path,
			Tally: writer.Tally{Size: uint64(o.Packed)},
		})
		d.keeper.Add(o.Name, o.Packed)
	case after.RunHook:
		log.Debug("hook has run", "file", o.Path, "took", o.Took)
	}
}

// closeAfter ends the queue. Hooks may run until the context ends.
func (d *directory) closeAfter(ctx context.Context, log *slog.Logger) {
	if d.after == nil {
		return
	}
	if err := d.after.Close(ctx); err != nil {
		log.Warn("stop what is done with finished files", "directory", d.path, "error", err)
	}
}
