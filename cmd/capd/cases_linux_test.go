package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/holds"
	"capd/ledger"
	"capd/store"
)

// rotated makes capd finish its file, and returns the path.
func (r *running) rotated() string {
	r.t.Helper()
	code, out, why := capd("rotate", "-c", r.config)
	path := strings.TrimSpace(out)
	if code != 0 || path == "" {
		r.t.Fatalf("rotate: exit %d, %s%s", code, out, why)
	}
	return path
}

// heldIn returns what hold --list says of a directory.
func heldIn(t *testing.T, args ...string) (l holds.Listing) {
	t.Helper()
	code, out, why := capd(append([]string{"hold", "--list", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil {
		t.Fatalf("hold --list: exit %d, %v, %s%s", code, err, out, why)
	}
	return l
}

// holdLines returns the lines of holds and releases of a ledger, of one case.
func holdLines(t *testing.T, dir, of string) (all []ledger.Entry) {
	t.Helper()
	for e, err := range ledger.ReadWith(dir, ledger.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Case == of && (e.Kind == ledger.KindHold || e.Kind == ledger.KindRelease) {
			all = append(all, e)
		}
	}
	return all
}

// TestHoldForCase: the files that may have the packets are held, also that which is being written, and no other; each case is
// released alone; capd does it where it records, and the command itself where none does; the ledger says who asked.
func TestHoldForCase(t *testing.T) {
	r, s, stop := extracting(t, "[index]\nenabled = true\n[retain]\nhold_warn = \"1B\"")
	file := func(port uint16) string {
		s.Send(udpFrame(1, port, "x"))
		r.await("frames", func(s *control.Status) bool { return len(s.Interfaces[0].Files) > 0 })
		return r.rotated()
	}
	dns, tls := file(53), file(443)
	indexed := func(path string) {
		r.await("flow tables", func(*control.Status) bool {
			_, err := os.Stat(path + ".flows.parquet")
			return err == nil
		})
	}
	indexed(dns)
	indexed(tls)
	s.Send(udpFrame(1, 123, "x"))
	growing := ""
	r.await("a growing file", func(s *control.Status) bool {
		growing = strings.Join(s.Interfaces[0].Files, " ")
		return growing != ""
	})

	code, out, why := capd("hold", "-c", r.config, "--case", "INC-17", "--note", "beacon", "--since", "-1h", "udp port 443")
	if got := strings.Fields(out); code != 0 || !slices.Equal(got, []string{tls, growing}) || !strings.Contains(why, "2 files, ") ||
		!strings.Contains(why, "held for case INC-17; 1 of them being written") {
		t.Fatalf("exit %d, %s%s", code, out, why)
	}
	if r.rotated() != strings.TrimSuffix(growing, ".partial") {
		t.Error("another file was finished")
	}
	growing = strings.TrimSuffix(growing, ".partial")
	indexed(growing)
	if code, out, why := capd("hold", "-c", r.config, "--case", "B", "--since", "-1h"); code != 0 || strings.Count(out, "\n") != 3 {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	if code, out, why := capd("hold", "-c", r.config, filepath.Base(tls)); code != 0 || out != tls+"\n" {
		t.Errorf("without a case: exit %d, %s%s", code, out, why)
	}
	base := func(paths ...string) (all []string) {
		for _, p := range paths {
			all = append(all, filepath.Base(p))
		}
		return all
	}
	l := heldIn(t, r.dir)
	if len(l.Groups) != 3 || l.Files != 3 || l.Groups[0].Case != "B" || l.Groups[1].Case != "INC-17" || l.Groups[2].Case != "" {
		t.Fatalf("%+v", l)
	}
	if g := l.Groups[1]; !slices.Equal(g.Files, base(tls, growing)) || g.Bytes == 0 || g.Since.IsZero() || !slices.Equal(g.Notes, []string{"beacon"}) ||
		len(g.By) != 1 || len(g.Questions) != 1 || !strings.HasPrefix(g.Questions[0], "capd extract ") || !strings.HasSuffix(g.Questions[0], " 'udp port 443'") {
		t.Errorf("%+v", g)
	}
	if g := l.Groups[2]; !slices.Equal(g.Files, base(tls)) {
		t.Errorf("%+v", g)
	}
	if code, out, why := capd("hold", "--list", r.dir); code != 0 || !strings.Contains(out, "\nINC-17  ") || !strings.Contains(out, "3 files held, ") {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	if code, out, _ := capd("release", "-c", r.config, "--case", "INC-17"); code != 0 || !slices.Equal(strings.Fields(out), []string{tls, growing}) {
		t.Errorf("release: exit %d, %s", code, out)
	}
	if code, out, why := capd("release", "-c", r.config, "--all"); code != 0 || out != tls+"\n" {
		t.Errorf("release --all: exit %d, %s%s", code, out, why)
	}
	if code, out, why := capd("release", "-c", r.config, tls); code != exitFailed || !strings.Contains(why, "held for the case B, which is released as a whole: capd release --case B") {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	if l := heldIn(t, r.dir); len(l.Groups) != 1 || l.Groups[0].Case != "B" || l.Files != 3 {
		t.Errorf("%+v", l)
	}
	r.await("three held files, and a warning", func(s *control.Status) bool {
		d := &s.Directories[0]
		return d.Held == 3 && d.Holds.Over && d.Holds.Warn == 1 && d.Holds.Bytes > 0
	})
	if _, out, _ := capd("status", "--socket", r.socket); !strings.Contains(out, r.dir+": held files take ") || !strings.Contains(out, "more than hold_warn: 1 B\n") {
		t.Errorf("%s", out)
	}
	stop()

	lines := holdLines(t, r.dir, "INC-17")
	if len(lines) != 6 {
		t.Fatalf("%+v", lines)
	}
	if e := lines[2]; e.Kind != ledger.KindHold || e.Files != 2 || e.Size == 0 || e.Note != "beacon" || e.UID != os.Getuid() || e.User == "" || !strings.Contains(e.Question, "443") {
		t.Errorf("%+v", e)
	}
	if e := lines[5]; e.Kind != ledger.KindRelease || e.Files != 2 || e.UID != os.Getuid() || e.User == "" || e.Name != "" {
		t.Errorf("%+v", e)
	}

	code, out, why = capd("hold", r.dir, "--case", "alone", "udp port 53")
	if code != 0 || out != dns+"\n" {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	t.Chdir(r.dir)
	if code, out, why := capd("hold", ".", "--case", "alone", "udp port 53"); code != 0 || out != dns+"\n" {
		t.Errorf("again: exit %d, %s%s", code, out, why)
	}
	if g := heldIn(t, "--case", "alone").Groups; len(g) != 1 || !slices.Equal(g[0].Questions, []string{"capd extract " + r.dir + " 'udp port 53'"}) {
		t.Errorf("%+v", g)
	}
	if code, out, why := capd("release", r.dir, "--case", "alone"); code != 0 || out != dns+"\n" {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	if code, out, why := capd("release", r.dir, "--case", "alone"); code != 0 || out != "" || !strings.Contains(why, "no file was held for case alone") {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	if lines := holdLines(t, r.dir, "alone"); len(lines) != 4 || lines[1].Files != 1 || lines[1].UID != os.Getuid() || lines[3].Kind != ledger.KindRelease {
		t.Errorf("%+v", lines)
	}
}

// TestHoldTooLate: what limits have deleted before can't be held, and hold says so; what is held is not deleted after that.
func TestHoldTooLate(t *testing.T) {
	r, s, _ := extracting(t, "retain_count = 1")
	var paths []string
	for range 2 {
		s.Send(udpFrame(1, 53, "x"))
		r.await("frames", func(s *control.Status) bool { return len(s.Interfaces[0].Files) > 0 })
		paths = append(paths, r.rotated())
	}
	r.await("a deletion", func(s *control.Status) bool { return s.Directories[0].Deleted == 1 })
	code, out, why := capd("hold", "-c", r.config, "--case", "late", "--since", begun(paths[0]), "udp")
	if code != 0 || out != paths[1]+"\n" || !strings.Contains(why, "capd: not held: deleted by limits, 1 packet, ") {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
	var j holdJSON
	code, out, why = capd("hold", "-c", r.config, "--case", "late", "--since", begun(paths[0]), "--json", "udp")
	if err := json.Unmarshal([]byte(out), &j); code != 0 || err != nil || len(j.NotHeld) != 1 || !slices.Equal(j.Files, paths[1:]) || j.Case != "late" || j.Bytes == 0 {
		t.Errorf("exit %d, %v, %s%s", code, err, out, why)
	}
	s.Send(udpFrame(1, 53, "x"))
	r.await("frames", func(s *control.Status) bool { return len(s.Interfaces[0].Files) > 0 })
	if code, _, why := capd("rotate", "-c", r.config); code != 0 { // nothing may be left of it at once
		t.Error(why)
	}
	r.await("a second deletion", func(s *control.Status) bool {
		d := &s.Directories[0]
		return d.Deleted == 2 && d.Held == 1
	})
	if _, err := os.Stat(paths[1]); err != nil {
		t.Error(err)
	}
}

// begun returns the time in the name of a file.
func begun(path string) string {
	name, _, err := store.Parse(filepath.Base(path))
	if err != nil {
		return err.Error()
	}
	return name.Start.Format(time.RFC3339)
}

// TestHoldUsage: what makes no sense is refused.
func TestHoldUsage(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"hold --case x " + dir:                        "which packets?",
		"hold --case -x --last 1m " + dir:             "a case has a name",
		"hold --case= --last 1m":                      "--case is empty",
		"hold --note x --last 1m":                     "--note goes with --case",
		"hold --around 14:03±1m":                      "--around goes with --case",
		"hold --last 1m -i a -i b":                    "--interface is one",
		"hold --list --last 1m":                       "does not go with --list",
		"hold --case x --last 1m --since -2h " + dir:  "hold: --since and --until, --around and --last are three ways",
		"hold --case x " + dir + " -c y udp":          "hold: a directory is named",
		"hold --list -c y " + dir:                     "a directory is named",
		"release --case x --all":                      "releases a case as a whole",
		"release --case /\x00 " + dir:                 "a case has a name",
		"hold --case x --last 1m --note " + long(500): "--note has at most",
	} {
		if code, out, why := capd(strings.Fields(args)...); code != exitUsage || !strings.Contains(why, want) {
			t.Errorf("capd %s: exit %d, no %q in %s%s", args, code, want, out, why)
		}
	}
	if code, out, why := capd("hold", "--list", dir); code != 0 || out != "0 files held, 0 B\n" {
		t.Errorf("exit %d, %s%s", code, out, why)
	}
}

func long(n int) string { return fmt.Sprintf("%0*d", n, 0) }
