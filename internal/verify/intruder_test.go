package verify

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/seal"
	"capd/store"
)

// TestIntruderAppends: who has the machine and its present key, and only adds lines, can't replace, remove or invent
// a file of before the last evolution.
func TestIntruderAppends(t *testing.T) {
	for deed, want := range map[string]struct {
		verdict Verdict
		what    string
	}{
		"none":                 {Verified, ""},
		"second digest":        {Tampered, Forged},
		"second file":          {Tampered, Forged},
		"salvaged without any": {Tampered, Missing},
		"deletion":             {NotProven, Order},
		"no limit":             {NotProven, Order},
		"yesterday":            {NotProven, Late},
		"salvaged yesterday":   {NotProven, Late},
		"before the others":    {NotProven, Late},
		"other begin":          {NotProven, Late},
		"other interface":      {NotProven, Late},
		"after it was sealed":  {NotProven, Late},
		"line of yesterday":    {NotProven, Late},
	} {
		r := newRecording(t, 3)
		r.start()
		r.file()
		target := r.file()
		r.do(r.l.Evolve())
		r.file()
		r.stop(deed != "salvaged yesterday")
		evolved := time.Now()
		path := filepath.Join(r.dir, target.String())
		k, err := seal.Open(r.keys, r.dir)
		r.do(err)
		l, err := ledger.Open(r.dir, ledger.Options{Key: k})
		r.do(err)
		r.do(l.Append(ledger.Start(ledger.Run{Software: "capd 1", PID: 1})))
		forge := func(name store.Name, f *ledger.File) {
			path := filepath.Join(r.dir, name.String())
			r.do(os.WriteFile(path, []byte("forged"), 0o600))
			d, err := seal.DigestFile(path)
			r.do(err)
			if f != nil {
				f.Name, f.Tally = name, ledger.Tally{Packets: 3, Size: 6}
				r.do(l.Append(f.Entry()))
			}
			r.do(l.Append(ledger.Digest(name, d)))
		}
		name := store.Name{Interface: "eth0", Start: r.noon.Add(-24 * time.Hour), Sequence: 99, Format: pcap.PCAPNG}
		clean := func(begin time.Time) *ledger.File {
			return &ledger.File{Begin: begin, End: begin.Add(time.Second), Clean: true, Reason: ledger.ReasonSize}
		}
		switch deed {
		case "second digest":
			forge(target, nil)
		case "second file":
			forge(target, clean(target.Start))
		case "salvaged without any":
			r.do(os.Remove(path))
			r.do(l.Append(ledger.Salvaged(target, 0, 0, 9, "")))
		case "deletion":
			r.do(os.Remove(path))
			r.do(l.Append(ledger.Deleting(target, "count"), ledger.Deleted(target, 9, "count")))
		case "no limit":
			r.do(os.Remove(filepath.Join(r.dir, r.live[0].String())))
			r.do(l.Append(ledger.Deleting(r.live[0], "me")))
		case "yesterday":
			forge(name, clean(name.Start))
		case "salvaged yesterday":
			f := clean(name.Start)
			f.Clean, f.Reason = false, ledger.ReasonSalvaged
			forge(name, f)
		case "before the others":
			name.Start = r.noon.Add(-time.Hour)
			f := clean(name.Start)
			f.End = r.noon
			forge(name, f)
		case "other begin":
			name.Start = r.noon
			f := clean(r.noon.Add(-time.Hour))
			f.End = r.noon
			forge(name, f)
		case "other interface":
			name.Interface, name.Sequence = "eth1", 1
			forge(name, clean(name.Start))
		case "after it was sealed":
			name.Start = r.noon.Add(time.Hour)
			forge(name, clean(name.Start))
		case "line of yesterday":
			r.do(l.Append(ledger.Entry{Kind: ledger.KindGap, Time: name.Start, Interface: "eth0", Begin: name.Start, End: r.noon, Cause: ledger.CauseDown}))
		}
		r.do(l.Append(ledger.Stop(ledger.Run{Software: "capd 1", PID: 1})))
		r.do(l.Close())
		got := r.verify()
		all := append(slices.Clone(got.Tampered), got.Unproven...)
		if got.Verdict != want.verdict || len(all) > 0 != (want.what != "") || !slices.ContainsFunc(all, func(f Finding) bool { return f.What == want.what }) && want.what != "" {
			t.Errorf("%s: %s %v, deleted %d", deed, got.Verdict, all, got.Deleted)
		}
		for _, s := range got.Sealings {
			if b, err := os.ReadFile(filepath.Join(r.dir, s.File)); err != nil || string(b) == "forged" && s.SealedAt.Before(evolved) {
				t.Errorf("%s: %+v, and it was made later", deed, s)
			}
		}
	}
}

// TestSealedLater: what a crash left, and what was not digested in time, is verified, and it is said that it was sealed later.
func TestSealedLater(t *testing.T) {
	for crash, want := range map[bool]Verdict{true: Verified, false: NotProven} {
		rec := newRecord()
		at := time.Now().Truncate(time.Second)
		line := func(d time.Duration, e ledger.Entry) {
			rec.at(at.Add(d))
			rec.prove(&e, place{})
		}
		run := ledger.Run{Software: "capd 1", PID: 1}
		file := func(seq uint64, begin, end time.Duration, clean bool) store.Name {
			n := store.Name{Interface: "eth0", Start: at.Add(begin), Sequence: seq, Format: pcap.PCAPNG}
			f := ledger.File{Name: n, Begin: n.Start, End: at.Add(end), Clean: clean, Reason: ledger.ReasonSalvaged}
			line(max(end, 0), f.Entry())
			return n
		}
		line(0, ledger.Start(run))
		early := file(1, 0, 10*time.Minute, true)
		if !crash {
			line(11*time.Minute, ledger.Stop(run))
		}
		line(time.Hour, ledger.Start(run))
		late := store.Name{Interface: "eth0", Start: at.Add(10 * time.Minute), Sequence: 2, Format: pcap.PCAPNG}
		f := ledger.File{Name: late, Begin: late.Start, End: at.Add(20 * time.Minute), Reason: ledger.ReasonSalvaged}
		line(time.Hour, f.Entry())
		line(time.Hour, ledger.Digest(late, seal.Digest{Size: 1}))
		line(time.Hour, ledger.Digest(early, seal.Digest{Size: 2}))
		if s, why := rec.sealing("", early.String()); !s.Late || why != "" || !s.SealedAt.Equal(at.Add(time.Hour)) {
			t.Errorf("digested by the next run: %+v %q", s, why)
		}
		if s, why := rec.sealing("", late.String()); !s.Late || (why == "") != (want == Verified) {
			t.Errorf("salvaged after a crash, %v: %+v %q", crash, s, why)
		}
	}
}

// TestIntruderRollsBack: who can write the directory and has no key can't cut off the end of the record within an epoch
// and have capd go on as if nothing was.
func TestIntruderRollsBack(t *testing.T) {
	for deed, want := range map[string]Verdict{"none": Verified, "cut": Tampered, "cut and recorded more": Tampered, "emptied": NotProven} {
		r := newRecording(t, 4)
		r.start()
		r.file()
		r.do(r.l.Evolve())
		r.file()
		path := filepath.Join(r.dir, ledger.FileName)
		b, err := os.ReadFile(path)
		r.do(err)
		last := r.file()
		r.stop(true)
		switch deed {
		case "cut", "cut and recorded more":
			r.do(os.WriteFile(path, b, 0o600))
			r.do(os.Remove(filepath.Join(r.dir, last.String())))
		case "emptied":
			entries, err := os.ReadDir(r.dir)
			r.do(err)
			for _, e := range entries {
				r.do(os.Remove(filepath.Join(r.dir, e.Name())))
			}
		}
		r.start()
		why := r.l.Broken()
		if deed == "cut and recorded more" {
			r.file()
			r.file()
		}
		r.stop(true)
		r.start() // it is said once
		if again := r.l.Broken(); again != "" || (why == "") != (deed == "none") {
			t.Errorf("%s: %q, then %q", deed, why, again)
		}
		r.stop(true)
		if got := r.verify(); got.Verdict != want {
			t.Errorf("%s: %s %v %v", deed, got.Verdict, got.Tampered, got.Unproven)
		}
	}
}

// TestSeveralKeys: of several keys of one name that is taken which has signed.
func TestSeveralKeys(t *testing.T) {
	r := newRecording(t, 6)
	r.start()
	r.file()
	r.do(r.l.Evolve())
	r.file()
	r.stop(true)
	other, _, err := seal.Init(t.TempDir(), r.dir, "host")
	r.do(err)
	for _, chain := range []bool{true, false} {
		if !chain {
			r.do(os.Remove(filepath.Join(r.dir, seal.ChainName)))
		}
		for _, keys := range [][]string{{other, r.key}, {r.key, other}} {
			got, err := Directory(r.dir, Options{Keys: keys})
			if err != nil || got.Checkpoints == 0 || got.Lines == 0 || (got.Verdict == Verified) != chain {
				t.Errorf("%+v %v", got, err)
			}
		}
	}
}
