package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/ledger"
	"capd/store"
)

// TestUnknown: what nobody knows is no zero, no "complete" and no loss.
func TestUnknown(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	name := func(n uint64) store.Name {
		return store.Name{Interface: "eth0", Start: at.Add(time.Duration(n-1) * time.Minute), Sequence: n}
	}
	done := ledger.File{Name: name(1), Link: "ETHERNET", Begin: at, End: at.Add(time.Minute), Tally: ledger.Tally{Packets: 7, Received: 7}, Reason: ledger.ReasonInterval, Clean: true}
	crashed := done
	crashed.Clean, crashed.Reason = false, ledger.ReasonSalvaged
	cut := done
	cut.Snaplen, cut.Truncated = 96, 5
	large := done
	large.Truncated, large.Oversized = 5, 5
	stopped := ledger.GapClosed(ledger.GapOpened("eth0", at.Add(time.Minute), ledger.CauseStopped), at.Add(2*time.Minute), 0)
	full := ledger.GapClosed(ledger.GapOpened("eth0", at.Add(time.Minute), ledger.CauseDiskFull), at.Add(2*time.Minute), 0)
	gapOf := func(cause ledger.Cause, frames uint64) ledger.Entry {
		return ledger.GapClosed(ledger.GapExplained("eth0", at.Add(time.Minute), cause, errors.New("so it said")), at.Add(2*time.Minute), frames)
	}
	for what, c := range map[string]struct {
		lines      []ledger.Entry
		files      []string
		live       bool
		code       int
		ledger     []string
		list       string
		isComplete string
	}{
		"foreign directory": {nil, []string{"passwd"}, false, exitUnknown, []string{"nothing is known of what was recorded"}, "0 files, 0 packets, 0 lost", "null"},
		"first file": {nil, []string{name(1).String() + store.Partial}, true, exitUnknown,
			[]string{"eth0: UNKNOWN: being recorded since 2026-01-02T12:00:00.000Z"}, "1 file, ? packets, ? lost", "null"},
		"first file, killed": {nil, []string{name(1).String() + store.Partial}, false, exitFailed,
			[]string{"eth0: INCOMPLETE", "not finished in order, " + name(1).String() + ".partial"}, "1 file, ? packets, ? lost", "false"},
		"later file": {[]ledger.Entry{done.Entry()}, []string{name(1).String(), name(2).String() + store.Partial}, true, exitFine,
			[]string{"eth0: complete", "being recorded into " + name(2).String() + ".partial"}, "2 files, 7+? packets, 0+? lost", "true"},
		"later file, killed": {[]ledger.Entry{done.Entry()}, []string{name(1).String(), name(2).String() + store.Partial}, false, exitFailed,
			[]string{"eth0: INCOMPLETE"}, "2 files, 7+? packets, 0+? lost", "false"},
		"not running": {[]ledger.Entry{done.Entry(), stopped}, []string{name(1).String()}, false, exitFailed,
			[]string{"gap: capd not running - ?"}, "1 file, 7 packets, 0 lost", "false"},
		"disk full, no frame came": {[]ledger.Entry{done.Entry(), full}, []string{name(1).String()}, false, exitFailed,
			[]string{"gap: disk full - 0"}, "1 file, 7 packets, 0 lost", "false"},
		"no inodes": {[]ledger.Entry{done.Entry(), gapOf(ledger.CauseNoInodes, 3)}, []string{name(1).String()}, false, exitFailed,
			[]string{"gap: no inodes - 3"}, "1 file, 7 packets, 0 lost", "false"},
		"directory replaced": {[]ledger.Entry{done.Entry(), gapOf(ledger.CauseReplaced, 3)}, []string{name(1).String()}, false, exitFailed,
			[]string{"gap: directory replaced - 3"}, "1 file, 7 packets, 0 lost", "false"},
		"not opened": {[]ledger.Entry{done.Entry(), gapOf(ledger.CauseRefused, 0)}, []string{name(1).String()}, false, exitFailed,
			[]string{"gap: interface not opened - ?", "interface not opened, so it said"}, "1 file, 7 packets, 0 lost", "false"},
		"crashed": {[]ledger.Entry{crashed.Entry()}, []string{name(1).String()}, false, exitFailed,
			[]string{"(not finished in order) 7 ?"}, "1 file, 7 packets, ? lost", "false"},
		"cut by will": {[]ledger.Entry{cut.Entry()}, []string{name(1).String()}, false, exitFine,
			[]string{"eth0: complete", "5 packets cut by snaplen 96, as configured"}, "1 file, 7 packets, 0 lost", "true"},
		"cut by size": {[]ledger.Entry{large.Entry()}, []string{name(1).String()}, false, exitFailed,
			[]string{"eth0: INCOMPLETE", "too large to be kept whole, 5 frames"}, "1 file, 7 packets, 0 lost", "false"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			var lines []byte
			for _, e := range c.lines {
				lines = e.AppendLine(lines, at)
			}
			if c.lines != nil {
				c.files = append(c.files, ledger.FileName)
			}
			for _, f := range c.files {
				content := "x"
				if f == ledger.FileName {
					content = string(lines)
				}
				if err := os.WriteFile(filepath.Join(dir, f), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.live {
				lock, err := store.LockDirectory(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Release()
			}
			code, out, why := capd("ledger", dir)
			if code != c.code || why != "" {
				t.Errorf("ledger: exit %d, want %d; %s", code, c.code, why)
			}
			for _, s := range c.ledger {
				if !strings.Contains(strings.Join(strings.Fields(out), " "), s) {
					t.Errorf("ledger says not %q:\n%s", s, out)
				}
			}
			if _, out, _ := capd("ledger", "--json", dir); !strings.Contains(out, "\"complete\": "+c.isComplete+",") {
				t.Errorf("ledger --json:\n%s", out)
			}
			if code, out, why := capd("list", dir); code != exitFine || why != "" || !strings.Contains(out, c.list+", ") {
				t.Errorf("list: exit %d, want %q\n%s%s", code, c.list, out, why)
			}
		})
	}
}
