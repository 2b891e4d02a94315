package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
)

// statusPatience is for a running capd that is asked for what the ledger can't know yet.
const statusPatience = 2 * time.Second

// growing asks the capds that run here what they have recorded into a directory and no line of its ledger is about yet, by interface,
// and how many lines each has. Interfaces of which lines are being written are
// left out; writing says that there are such.
func growing(ctx context.Context, dir, configured string) (of map[string]ledger.Growing, lines map[string]uint64, writing bool) {
	of, lines = make(map[string]ledger.Growing), make(map[string]uint64)
	askAll(ctx, configured, func(_ *control.Client, s *control.Status) {
		for i := range s.Interfaces {
			in := &s.Interfaces[i]
			if in.State == control.Ended || !sameDirectory(dir, in.Directory) {
				continue
			}
			if in.Growing == nil {
				writing = true
				continue
			}
			g := in.Growing
			lines[in.Name] = g.Lines
			of[in.Name] = ledger.Growing{
				Time: s.Time, Recording: in.State == control.Recording,
				Tally: ledger.Tally{
					Packets: g.Packets, Received: g.Packets + g.KernelDropped + g.CapdDropped, KernelDropped: g.KernelDropped,
					CapdDropped: g.CapdDropped, NICDropped: g.NICDropped, Oversized: g.Oversized,
				},
			}
		}
	})
	return of, lines, writing
}

// askAll calls do with each capd that answers here, and its status.
func askAll(ctx context.Context, configured string, do func(*control.Client, *control.Status)) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	sockets := control.Find()
	if configured != "" && configured != config.ControlAuto && !slices.Contains(sockets, configured) {
		sockets = append(sockets, configured)
	}
	for _, socket := range sockets {
		c := control.NewClient(socket)
		if s, err := c.Status(ctx, ""); err == nil {
			do(c, s)
		}
		c.Close()
	}
}

func sameDirectory(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// askLive answers a question about a directory, together with the capd that records into it, if one does and can be asked. The
// ledger is read again if it has grown meanwhile, as the two would not fit together.
func askLive(ctx context.Context, dir, configured string, q ledger.Question, o ledger.ReadOptions) (*ledger.Answer, error) {
	for began, n := time.Now(), 0; n < 3 || time.Since(began) < statusPatience; n++ {
		before, lines, writing := growing(ctx, dir, configured)
		if writing && ctx.Err() == nil {
			time.Sleep(notePause)
			continue
		}
		q.Growing = before
		a, err := ledger.Ask(dir, q, o)
		if err != nil || len(before) == 0 {
			return a, err
		}
		if _, now, _ := growing(ctx, dir, configured); maps.Equal(lines, now) {
			return a, nil
		}
	}
	q.Growing = nil
	return ledger.Ask(dir, q, o)
}
