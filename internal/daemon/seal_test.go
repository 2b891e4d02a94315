package daemon

import (
	"log/slog"
	"strings"
	"testing"

	"capd/ledger"
	"capd/seal"
)

// TestSealRecorded: files are digested while they are recorded, and not read for that.
func TestSealRecorded(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		keys := t.TempDir()
		if _, _, err := seal.Init(keys, r.dir, "test"); err != nil {
			t.Fatal(err)
		}
		opt := r.options()
		c := *opt.Config
		c.Seal.Enabled, c.Seal.Keys = true, keys
		opt.Config = &c
		opt.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		r.start(opt)
		const files = 5
		for i := range uint64(files) {
			v1.Send(appendFrame(nil, 1, i))
			r.await("a frame", func() bool { return r.status("v1").Writer.Accepted == i+1 })
			if _, err := r.d.RotateFiles(t.Context(), "v1"); err != nil {
				t.Fatal(err)
			}
		}
		r.end()
		digests := 0
		for e, err := range ledger.Read(r.dir, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == ledger.KindDigest {
				digests++
			}
		}
		if read := strings.Count(r.log.String(), "file digested"); digests < files || read > 0 {
			t.Errorf("%d digests of %d files, %d of them read from the disk", digests, files, read)
		}
	})
}
