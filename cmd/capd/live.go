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
// and how many lines each has. It is empty if none answers that records there, or while it writes lines.
func growing(ctx context.Context, dir, configured string) (of map[string]ledger.Growing, lines map[string]uint64) {
	of, lines = make(map[string]ledger.Growing), make(map[string]uint64)
	here, err := os.Stat(dir)
	if err != nil {
		return of, lines
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	sockets := control.Find()
	if configured != "" && configured != config.ControlAuto && !slices.Contains(sockets, configured) {
		sockets = append(sockets, configured)
	}
	for _, socket := range sockets {
		c := control.NewClient(socket)
		s, err := c.Status(ctx, "")
		c.Close()
		if err != nil {
			continue
		}
		for i := range s.Interfaces {
			in := &s.Interfaces[i]
			there, err := os.Stat(in.Directory)
			if err != nil || !os.SameFile(here, there) || in.Growing == nil || in.State == control.Ended {
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
	}
	return of, lines
}

// askLive answers a question about a directory, together with the capd that records into it, if one does and can be asked. The
// ledger is read again if it has grown meanwhile, as the two would not fit together.
func askLive(ctx context.Context, dir, configured string, q ledger.Question, o ledger.ReadOptions) (*ledger.Answer, error) {
	for range 3 {
		before, lines := growing(ctx, dir, configured)
		q.Growing = before
		a, err := ledger.Ask(dir, q, o)
		if err != nil || len(before) == 0 {
			return a, err
		}
		if _, now := growing(ctx, dir, configured); maps.Equal(lines, now) {
			return a, nil
		}
	}
	q.Growing = nil
	return ledger.Ask(dir, q, o)
}
