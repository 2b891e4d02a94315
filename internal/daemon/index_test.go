package daemon

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"capd/store"
)

// TestIndexReload: from a reload on capd makes the tables of the files that are there, which it reads, and of new ones, which it
// does not read.
func TestIndexReload(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		opt := r.options()
		opt.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		r.start(opt)
		tables := func() int {
			all, err := filepath.Glob(filepath.Join(r.dir, "*"+store.Flows.Ext()))
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		file := func(i uint64) {
			t.Helper()
			v1.Send(appendFrame(nil, 1, i))
			r.await("a frame", func() bool { return r.status("v1").Writer.Accepted == i+1 })
			if _, err := r.d.RotateFiles(t.Context(), "v1"); err != nil {
				t.Fatal(err)
			}
		}
		file(0)
		c := *r.d.config.Load()
		c.Index.Enabled = true
		if err := r.d.Reload(&c); err != nil {
			t.Fatal(err)
		}
		r.await("a table of the file before", func() bool { return tables() == 1 })
		file(1)
		r.await("a table of a new file", func() bool { return tables() == 2 })
		r.end()
		if log := r.log.String(); strings.Count(log, "read=true") != 1 || strings.Count(log, "read=false") != 1 {
			t.Error("one table is to be made from its file, and one while it is recorded")
		}
	})
}
