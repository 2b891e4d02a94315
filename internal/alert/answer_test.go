package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/extract"
)

// conversations are of all kinds. Each has frames from a begin to an end, every ten seconds, and an alert.
type conversation struct {
	name       string
	begin, end time.Duration
	there      []byte // a frame
	back       []byte
	more       [][]byte  // further frames that belong to it
	with       [3]string // further flows that the frames there, back and more belong to
	alert      string    // ends of its alert, in EVE
	at         time.Duration
	unknown    bool // the alert does not say when its flow began
}

func conversations() []conversation {
	fragment := ip4("192.0.2.20", "198.51.100.20", 17, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	fragment[6], fragment[7] = 0, 100
	inner := ethernet(ip4("10.0.0.1", "10.0.0.2", 6, tcp(1000, 80, 16)))
	all := []conversation{
		{name: "tcp", begin: 3 * time.Minute, end: 5 * time.Minute, at: 270 * time.Second,
			there: ethernet(ip4("192.0.2.1", "198.51.100.1", 6, tcp(40000, 443, 2))), back: ethernet(ip4("198.51.100.1", "192.0.2.1", 6, tcp(443, 40000, 18))),
			alert: endsOf("192.0.2.1", 40000, "198.51.100.1", 443, "TCP")},
		{name: "answer", begin: 3 * time.Minute, end: 5 * time.Minute, at: 270 * time.Second, unknown: true, // the alert is about a packet of the server
			there: ethernet(ip4("192.0.2.2", "198.51.100.1", 6, tcp(40000, 443, 2))), back: ethernet(ip4("198.51.100.1", "192.0.2.2", 6, tcp(443, 40000, 18))),
			alert: endsOf("198.51.100.1", 443, "192.0.2.2", 40000, "TCP")},
		{name: "udp6", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip6("2001:db8::1", "2001:db8::2", 17, udp(5000, 53))), back: ethernet(ip6("2001:db8::2", "2001:db8::1", 17, udp(53, 5000))),
			alert: endsOf("2001:0db8:0000:0000:0000:0000:0000:0001", 5000, "2001:0db8:0000:0000:0000:0000:0000:0002", 53, "UDP")},
		{name: "fragments", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute, with: [3]string{"", "", "later"}, more: [][]byte{ethernet(fragment)},
			there: ethernet(ip4("192.0.2.20", "198.51.100.20", 17, udp(6000, 2049))), back: ethernet(ip4("198.51.100.20", "192.0.2.20", 17, udp(2049, 6000))),
			alert: endsOf("192.0.2.20", 6000, "198.51.100.20", 2049, "UDP")},
		{name: "ping", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip4("192.0.2.3", "198.51.100.3", 1, []byte{8, 0, 0, 0, 0, 1, 0, 1})), back: ethernet(ip4("198.51.100.3", "192.0.2.3", 1, []byte{0, 0, 0, 0, 0, 1, 0, 1})),
			alert: `"src_ip":"198.51.100.3","dest_ip":"192.0.2.3","proto":"ICMP","icmp_type":0,"icmp_code":0`},
		{name: "ping6", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip6("2001:db8::3", "2001:db8::4", 58, []byte{128, 0, 0, 0, 0, 1, 0, 1})), back: ethernet(ip6("2001:db8::4", "2001:db8::3", 58, []byte{129, 0, 0, 0, 0, 1, 0, 1})),
			alert: `"src_ip":"2001:db8::3","dest_ip":"2001:db8::4","proto":"IPv6-ICMP","icmp_type":128,"icmp_code":0`},
		{name: "unreachable", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip4("192.0.2.3", "198.51.100.3", 1, []byte{3, 3, 0, 0, 0, 0, 0, 0})), back: ethernet(ip4("192.0.2.3", "198.51.100.3", 1, []byte{3, 3, 0, 0, 0, 0, 0, 1})),
			alert: `"src_ip":"192.0.2.3","dest_ip":"198.51.100.3","proto":"ICMP","icmp_type":3,"icmp_code":3`},
		{name: "vlan", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip4("192.0.2.4", "198.51.100.4", 132, ports(7, 9, 0, 0, 0, 0, 0, 0, 0, 0)), 20, 10), back: ethernet(ip4("198.51.100.4", "192.0.2.4", 132, ports(9, 7, 0, 0, 0, 0, 0, 0, 0, 0)), 20, 10),
			alert: `"vlan":[20,10],` + endsOf("192.0.2.4", 7, "198.51.100.4", 9, "SCTP")},
		{name: "inner", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute, with: [3]string{"outer", "gre"},
			there: ethernet(ip4("203.0.113.1", "203.0.113.2", 17, vxlan(inner))), back: ethernet(ip4("203.0.113.1", "203.0.113.2", 47, append([]byte{0, 0, 8, 0}, inner[14:]...))),
			alert: endsOf("10.0.0.1", 1000, "10.0.0.2", 80, "TCP") + `,"tunnel":{"src_ip":"203.0.113.1","dest_ip":"203.0.113.2","proto":"GRE"}`},
		{name: "outer", begin: 3 * time.Minute, end: 3 * time.Minute, at: 4 * time.Minute, // only the frames of UDP that carry inner, and two of its own
			there: ethernet(ip4("203.0.113.1", "203.0.113.2", 17, udp(5555, 4789))), back: ethernet(ip4("203.0.113.2", "203.0.113.1", 17, udp(4789, 5555))),
			alert: endsOf("203.0.113.1", 5555, "203.0.113.2", 4789, "UDP")},
		{name: "ipip", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute, with: [3]string{"outer4", "outer6"},
			there: ethernet(ip4("203.0.113.3", "203.0.113.4", 4, ip4("10.0.0.3", "10.0.0.4", 17, udp(1, 2)))), back: ethernet(ip6("2001:db8::5", "2001:db8::6", 4, ip4("10.0.0.4", "10.0.0.3", 17, udp(2, 1)))),
			alert: endsOf("10.0.0.3", 1, "10.0.0.4", 2, "UDP")},
		{name: "esp", begin: 3 * time.Minute, end: 4 * time.Minute, at: 4 * time.Minute,
			there: ethernet(ip4("192.0.2.5", "198.51.100.5", 50, make([]byte, 16))), back: ethernet(ip4("198.51.100.5", "192.0.2.5", 50, make([]byte, 16))),
			alert: `"src_ip":"192.0.2.5","dest_ip":"198.51.100.5","proto":"ESP"`},
		{name: "first", begin: time.Minute, end: 2 * time.Minute, at: 2 * time.Minute, with: [3]string{"port", "port"}, // the port is used again later
			there: ethernet(ip4("192.0.2.6", "198.51.100.6", 6, tcp(50000, 22, 2))), back: ethernet(ip4("198.51.100.6", "192.0.2.6", 6, tcp(22, 50000, 18))),
			alert: endsOf("192.0.2.6", 50000, "198.51.100.6", 22, "TCP")},
		{name: "second", begin: 4*time.Minute + time.Second, end: 5 * time.Minute, at: 5 * time.Minute, with: [3]string{"port", "port"},
			there: ethernet(ip4("192.0.2.6", "198.51.100.6", 6, tcp(50000, 22, 2))), back: ethernet(ip4("198.51.100.6", "192.0.2.6", 6, tcp(22, 50000, 18))),
			alert: endsOf("192.0.2.6", 50000, "198.51.100.6", 22, "TCP")},
		{name: "late", begin: 3 * time.Minute, end: 4 * time.Minute, at: 12 * time.Minute, // the alert comes when the connection is given up
			there: ethernet(ip4("192.0.2.7", "198.51.100.7", 6, tcp(1, 2, 2))), back: ethernet(ip4("198.51.100.7", "192.0.2.7", 6, tcp(2, 1, 18))),
			alert: endsOf("192.0.2.7", 1, "198.51.100.7", 2, "TCP")},
		{name: "early", begin: 5 * time.Minute, end: 12 * time.Minute, at: time.Minute, // the alert has the time of the first packet of a capture
			there: ethernet(ip4("192.0.2.8", "198.51.100.8", 6, tcp(1, 2, 2))), back: ethernet(ip4("198.51.100.8", "192.0.2.8", 6, tcp(2, 1, 18))),
			alert: endsOf("192.0.2.8", 1, "198.51.100.8", 2, "TCP")},
	}
	for i := range all {
		c := &all[i]
		c.begin, c.end, c.at = c.begin+lead, c.end+lead, c.at+lead
	}
	return all
}

// lead is how long the recordings are before the first conversation.
const lead = 11 * time.Minute

// minutes is how long the recordings are.
const minutes = 28

// converse records all conversations among others, and returns their alerts.
func converse(t testing.TB, tables bool) (r *recording, lines string) {
	r, lines = talk(t)
	for i := range 10000 {
		r.send(time.Duration(i)*minutes*time.Minute/10000, ethernet(ip4(fmt.Sprintf("10.1.%d.%d", i/250%250, i%250+1), "198.51.100.1", 6, tcp(uint16(i), 443, 16))), "noise")
	}
	r.write(minutes, tables)
	return r, lines
}

// talk has all conversations, and their alerts.
func talk(t testing.TB) (r *recording, lines string) {
	r = newRecording(t)
	for id, c := range conversations() {
		for at := c.begin; at <= c.end; at += 10 * time.Second {
			for n, f := range append([][]byte{c.there, c.back}, c.more...) {
				of := []string{c.name}
				if with := c.with[n]; with != "" {
					of = append(of, with)
				}
				r.send(at+time.Duration(n)*time.Second, f, of...)
			}
		}
		start := noon.Add(c.begin)
		if c.unknown {
			start = time.Time{}
		}
		lines += eveLine(noon.Add(c.at), start, id, c.alert)
	}
	return r, lines
}

// TestFlowsOfAlerts: each alert's file has its whole flow and nothing else, as a scan of all frames finds it, with flow tables and without:
// when the alert comes late or early, for ICMP, IPv6, VLANs, fragments and tunnels, and for a port that is used again.
func TestFlowsOfAlerts(t *testing.T) {
	for _, tables := range []bool{false, true} {
		r, lines := converse(t, tables)
		done := r.answer(lines, nil)
		all := conversations()
		if len(done) != len(all) {
			t.Fatalf("%d answers", len(done))
		}
		for _, d := range done {
			var id int
			if _, err := fmt.Sscan(d.Alerts[0].ID, &id); err != nil {
				t.Fatal(err)
			}
			c := all[id]
			got, want := r.packets(d.File), r.came(c.name, noon, noon.Add(time.Hour))
			if len(want) == 0 || !slices.EqualFunc(got, want, bytes.Equal) || int(d.Packets) != len(got) || !d.Complete {
				t.Errorf("%s: %d packets and not %d, %+v", c.name, len(got), len(want), d.Answer)
			}
			if b, err := os.ReadFile(d.File); err != nil || !bytes.Contains(b, []byte("verdict: complete: ")) || !bytes.Contains(b, []byte("alert: ")) {
				t.Errorf("%s: %v, no verdict in its file", c.name, err)
			}
			if d.Interfaces[0].Interface != "eth0" || d.Interfaces[0].Packets != d.Packets {
				t.Errorf("%s: %+v", c.name, d.Interfaces[0])
			}
		}
	}
}

// TestVerdictsOfAlerts: an answer is complete only if asking for its flow and time alone is, and has as many packets.
func TestVerdictsOfAlerts(t *testing.T) {
	r, lines := converse(t, true)
	names, err := filepath.Glob(filepath.Join(r.dir, "*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(names[11]); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(names[22], 5000); err != nil {
		t.Fatal(err)
	}
	complete := 0
	for _, d := range r.answer(lines, nil) {
		q := r.asker(nil).Question
		q.Since, q.Until, q.Flows = d.AskedSince, d.AskedUntil, d.group.flows()
		plan, err := q.Plan(t.Context(), nobody{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := plan.Find(t.Context(), extract.Output{})
		if err != nil || d.Packets != want.Packets || d.Complete && !want.Complete {
			t.Errorf("%s: %v\n%s\n%s", d.Flow, err, d.Verdict(), want.Verdict())
		}
		if d.Complete {
			complete++
		}
	}
	if complete == 0 || complete == len(conversations()) {
		t.Errorf("%d are complete", complete)
	}
}

// TestOneFile: one file has the packets of all alerts in order of time, each once.
func TestOneFile(t *testing.T) {
	r, lines := converse(t, true)
	path := filepath.Join(t.TempDir(), "all.pcapng")
	file, err := NewFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	file.Begin("test", "question")
	done := r.answer(lines+lines, func(q *Asker) { q.All, q.Directory = file, "" })
	if err := file.End(&extract.Answer{Complete: true}); err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	for i := range r.frames {
		if f := &r.frames[i]; f.of[0] != "noise" {
			want = append(want, f.data)
		}
	}
	if got := r.packets(path); !slices.EqualFunc(got, want, bytes.Equal) || len(done) != len(conversations()) || len(done[0].Alerts) != 2 {
		t.Errorf("%d packets and not %d, %d answers", len(got), len(want), len(done))
	}
	if _, err := NewFile(path, nil); err == nil {
		t.Error("a file was replaced")
	}
}

// TestGroups: alerts of one flow whose windows overlap have one answer, those of another connection of the same port have their own, and so
// have those of much later.
func TestGroups(t *testing.T) {
	r := newRecording(t)
	ends, back := endsOf("192.0.2.1", 1, "198.51.100.1", 2, "TCP"), endsOf("198.51.100.1", 2, "192.0.2.1", 1, "TCP")
	all := r.parse(eveLine(noon.Add(5*time.Second), noon, 1, ends) + eveLine(noon, noon, 2, back) + eveLine(noon.Add(time.Minute), noon.Add(time.Second), 3, ends) +
		eveLine(noon.Add(time.Hour), noon.Add(time.Hour), 4, ends) + eveLine(noon.Add(30*time.Minute), time.Time{}, 5, ends))
	var got []string
	for _, g := range Groups(all, Window{time.Minute, 10 * time.Minute, 10 * time.Second}) {
		s := ""
		for _, a := range g.Alerts {
			s += a.ID
		}
		got = append(got, fmt.Sprintf("%s %v %v", s, g.Since.Sub(noon), g.Until.Sub(noon)))
	}
	if want := []string{"21 -1m0s 15s", "3 -59s 1m10s", "5 20m0s 30m10s", "4 59m0s 1h0m10s"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestAnswerTwice: an alert that has its file is not answered again, and what was left of one that was interrupted is replaced.
func TestAnswerTwice(t *testing.T) {
	r, lines := converse(t, false)
	one, _, _ := strings.Cut(lines, "\n")
	dir := t.TempDir()
	into := func(q *Asker) { q.Directory = dir }
	name := r.parse(one)[0].Name() + ".pcapng" + partialExt
	if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, again := r.answer(one, into), r.answer(one, into)
	if first[0].Already || !again[0].Already || first[0].File != again[0].File || !strings.Contains(again[0].Say(), "it was answered before") {
		t.Errorf("%s\n%s", first[0].Say(), again[0].Say())
	}
	if got := r.packets(first[0].File); len(got) != int(first[0].Packets) || len(got) == 0 {
		t.Errorf("%d packets", len(got))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestSameName: alerts of one time and signature about several flows, or connections, have files of their own.
func TestSameName(t *testing.T) {
	r, _ := converse(t, false)
	at, lines := noon.Add(lead+5*time.Minute), ""
	for _, name := range []string{"ping", "unreachable", "first", "second"} {
		for _, c := range conversations() {
			if c.name == name {
				lines += eveLine(at, noon.Add(c.begin), 1, c.alert)
			}
		}
	}
	lines = strings.ReplaceAll(lines, `"src_ip":"198.51.100.3","dest_ip":"192.0.2.3","proto":"ICMP","icmp_type":0`, `"src_ip":"192.0.2.3","dest_ip":"198.51.100.3","proto":"ICMP","icmp_type":8`)
	files := make(map[string]bool)
	for _, d := range r.answer(lines, nil) {
		files[d.File] = true
		if d.Already || d.Packets == 0 || len(r.packets(d.File)) != int(d.Packets) {
			t.Error(d.Say())
		}
	}
	if len(files) != 4 {
		t.Errorf("%v", files)
	}
}

// TestLimits: an answer ends at a limit, and says so; others do not.
func TestLimits(t *testing.T) {
	r, lines := converse(t, false)
	for _, change := range []func(*Asker){
		func(q *Asker) { q.MostPackets = 14 },
		func(q *Asker) { q.MostBytes = 2500 },
	} {
		limited := 0
		for _, d := range r.answer(lines, change) {
			if info, err := os.Stat(d.File); err != nil || info.Size() > 4000 || len(r.packets(d.File)) != int(d.Packets) {
				t.Errorf("%v, %v", info, err)
			}
			if !d.Complete {
				limited++
				if len(d.Missing) != 1 || d.Missing[0].Cause != extract.CauseLimit {
					t.Errorf("%s", d.Verdict())
				}
			}
		}
		if limited == 0 || limited == len(conversations()) {
			t.Errorf("%d are limited", limited)
		}
	}
}

// TestInterrupted: what is not answered when the context ends says so, and leaves no file that would count as an answer.
func TestInterrupted(t *testing.T) {
	r, lines := converse(t, false)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var done []*Done
	q := r.asker(&done)
	q.Directory = dir
	q.Recorders = func(time.Time) extract.Recorders {
		cancel()
		return nobody{}
	}
	if err := q.Answer(ctx, Groups(r.parse(lines), q.Window)); err != nil {
		t.Error(err)
	}
	for _, d := range done {
		if d.Complete || !strings.Contains(d.Say(), "interrupted") || d.File != "" {
			t.Error(d.Say())
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || len(done) != len(conversations()) {
		t.Errorf("%v, %v, %d answers", left, err, len(done))
	}
}

// TestNoDirectory: recordings that can't be read are told in each answer.
func TestNoDirectory(t *testing.T) {
	r, lines := converse(t, false)
	var done []*Done
	q := r.asker(&done)
	q.Question.Directories, q.Directory = []string{filepath.Join(t.TempDir(), "none")}, t.TempDir()
	far := eveLine(noon.Add(100*time.Hour), time.Time{}, 1, endsOf("192.0.2.1", 1, "198.51.100.1", 2, "TCP")) // a reading of its own
	if err := q.Answer(t.Context(), Groups(r.parse(lines+far), q.Window)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, d := range done {
		if d.Complete || !strings.Contains(d.Say(), "can't be read") || d.File != "" {
			t.Error(d.Say())
		}
	}
	if len(done) != len(conversations())+1 {
		t.Errorf("%d answers", len(done))
	}
}

// TestNoRoom: a file that can't be made is said, and the others are answered.
func TestNoRoom(t *testing.T) {
	r, lines := converse(t, false)
	dir := t.TempDir()
	name := r.parse(lines)[3].Name() + ".pcapng" + partialExt
	if err := os.MkdirAll(filepath.Join(dir, name, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, d := range r.answer(lines, func(q *Asker) { q.Directory = dir }) {
		if d.Failed != "" {
			failed++
			if d.Complete || !strings.Contains(d.Say(), "directory not empty") {
				t.Error(d.Say())
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d failed", failed)
	}
}
