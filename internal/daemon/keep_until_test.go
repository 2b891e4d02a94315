package daemon

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
)

// A hookRig records files and runs a hook on them.
type hookRig struct {
	*rig
	s    wire
	sent uint64
}

func newHookRig(t *testing.T, n network, change func(*config.Config)) *hookRig {
	v1 := n.add("v1")
	r := newRig(t, n, change, "v1")
	r.start(r.options())
	return &hookRig{rig: r, s: v1}
}

// file records one more file.
func (h *hookRig) file() {
	h.t.Helper()
	h.s.Send(appendFrame(nil, 1, h.sent))
	h.sent++
	h.await("frame", func() bool { return h.status("v1").Writer.Accepted == h.sent })
	h.d.Rotate()
	h.await("file", func() bool { return h.status("v1").Writer.Files == h.sent })
}

// lines returns the lines of the ledger of a kind.
func (h *hookRig) lines(kind ledger.Kind) (all []ledger.Entry) {
	h.t.Helper()
	for e, err := range ledger.Read(h.dir, nil) {
		if err != nil {
			h.t.Fatal(err)
		}
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// sequences returns the sequence numbers in the names of the finished files.
func (h *hookRig) sequences() string {
	var all []string
	found, _ := filepath.Glob(filepath.Join(h.dir, "v1-*.pcapng"))
	for _, path := range found {
		all = append(all, strings.TrimLeft(strings.TrimSuffix(path[strings.LastIndex(path, "-")+1:], ".pcapng"), "0"))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (h *hookRig) waiting() []control.StepWait { return h.d.Report().Directories[0].Waiting }

// TestKeepUntil: a hook fails for seven files although a limit allows two. No
// file is deleted before its hook has succeeded, and status, ledger and log say
// so.
func TestKeepUntil(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		works := filepath.Join(t.TempDir(), "works")
		h := newHookRig(t, n, func(c *config.Config) {
			c.RetainCount = 2
			c.Finished.Hook = []string{"/bin/sh", "-c", `[ -e "$0" ]`, works}
			c.Finished.KeepUntil = []string{config.StepHook}
		})
		for range 7 {
			h.file()
		}
		h.await("limits yield", func() bool {
			return reflect.DeepEqual(h.waiting(), []control.StepWait{{Step: "hook", Files: 7, Kept: 5, Limit: "count"}})
		})
		h.await("the ledger says so", func() bool { return len(h.lines(ledger.KindYield)) == 1 && len(h.lines(ledger.KindHook)) == 7 })
		if e := h.lines(ledger.KindYield)[0]; e.Step != "hook" || e.Limit != "count" || e.Begin.IsZero() || !e.End.IsZero() {
			t.Errorf("line %+v", e)
		}
		report := h.d.Report()
		if level, wrong := report.Judge(); level != control.Warning || !slices.ContainsFunc(wrong, func(s string) bool {
			return strings.HasSuffix(s, "is over its limit count: 5 files stay until step hook has succeeded")
		}) {
			t.Errorf("judged %v, %q", level, wrong)
		}
		h.end() // the marks survive a restart
		h.start(h.options())
		h.await("limits yield again", func() bool { return len(h.lines(ledger.KindYield)) == 2 && len(h.lines(ledger.KindHook)) == 14 })
		if got := h.sequences(); got != "1 2 3 4 5 6 7" {
			t.Errorf("files %s are left", got)
		}
		if err := os.WriteFile(works, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		next := *h.d.config.Load()
		next.Finished.Timeout += config.Duration(time.Second) // a new Queue tries all files at once
		if err := h.d.Reload(&next); err != nil {
			t.Fatal(err)
		}
		h.await("limits hold", func() bool { return h.sequences() == "6 7" && len(h.waiting()) == 0 })
		h.end()
		// A hook does not run for a file that is gone, so one that succeeded
		// ran before the deletion, even if the ledger has the lines in the
		// other order.
		done := map[string]bool{}
		for _, e := range h.lines(ledger.KindHook) {
			done[e.Name] = done[e.Name] || e.Exit == 0
		}
		deleted := h.lines(ledger.KindDeleted)
		for _, e := range deleted {
			if !done[e.Name] {
				t.Errorf("%s was deleted, and its hook had not succeeded", e.Name)
			}
		}
		if len(deleted) != 5 {
			t.Errorf("%d files were deleted", len(deleted))
		}
		if all := h.lines(ledger.KindYield); len(all) != 3 || all[2].Begin != all[1].Begin || all[2].End.IsZero() {
			t.Errorf("lines %+v", all)
		}
	})
}

// TestPendingGoLast: a hook fails for two files, and limits delete the others
// first.
func TestPendingGoLast(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		h := newHookRig(t, n, func(c *config.Config) {
			c.RetainCount = 3
			c.Finished.Hook = []string{"/bin/sh", "-c", `case $CAPD_FILE in *-00000[12].pcapng) exit 1;; esac`}
		})
		for i := range 5 {
			h.file()
			h.await("hook", func() bool { return len(h.lines(ledger.KindHook)) == i+1 })
		}
		h.await("limits hold", func() bool { return h.sequences() == "1 2 5" })
		h.end()
		if n := len(h.lines(ledger.KindYield)); n != 0 {
			t.Errorf("%d lines say that limits yield", n)
		}
	})
}
