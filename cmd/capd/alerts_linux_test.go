package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/ledger"
)

// eve is an alert about what udpFrame sends from one port to another.
func eve(start time.Time, id int, src, dst uint16) string {
	const from, to, layout = "10.0.0.1", "10.0.0.2", "2006-01-02T15:04:05.000000-0700"
	return fmt.Sprintf(`{"timestamp":%q,"event_type":"alert","src_ip":%q,"src_port":%d,"dest_ip":%q,"dest_port":%d,"proto":"UDP","alert":{"signature_id":%d,"signature":"a\u001b[2Jb"},"flow":{"start":%q}}`+"\n",
		time.Now().Format(layout), from, src, to, dst, id, start.Format(layout))
}

// TestExtractAlerts: the packets of alerts are found while they are recorded; each has a file with its verdict that other tools read, or all
// have one, and what can't be matched says why.
func TestExtractAlerts(t *testing.T) {
	r, s, stop := extracting(t, `flush_interval = "1h"`)
	began := time.Now()
	for i := range 5 {
		s.Send(udpFrame(1, 53, "x"))
		s.Send(udpFrame(uint16(100+i), 443, "secret"))
	}
	log := filepath.Join(t.TempDir(), "eve.json")
	lines := eve(began, 7, 1, 53) + eve(began, 8, 102, 443) + eve(began, 9, 102, 443) +
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"stats"}` + "\n" + "{\n" +
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert"}` + "\n"
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "found")
	code, stdout, stderr := capd("extract", "-c", r.config, "--alert", log, "--before", "0s", "-w", dir+"/")
	names, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
	if code != exitIncomplete || err != nil || len(names) != 2 || strings.Count(stdout, ": complete: ") != 2 ||
		!strings.Contains(stdout, "complete: 5 packets of what was recorded from ") || !strings.Contains(stdout, "complete: 1 packet of what was recorded from ") ||
		!strings.Contains(stdout, " and 1 more: ") || strings.Contains(stdout+stderr, "\x1b") {
		t.Fatalf("exit %d, %q, %v\n%s%s", code, names, err, stdout, stderr)
	}
	for _, want := range []string{
		"INCOMPLETE: no packets can be found for " + log + ":5: no JSON at byte 1: ", "INCOMPLETE: no packets can be found for " + log + ":6: it names no flow",
		"capd: 1 line of event stats skipped",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	for _, name := range names {
		if said := tooled(t, "tshark", "-r", name, "-X", "read_format:MIME Files Format", "-V"); !strings.Contains(said, "verdict: complete: ") {
			t.Errorf("%s", said)
		}
		if said := tooled(t, "capinfos", name); !strings.Contains(said, "Name = v1") || !strings.Contains(said, "alert: ") {
			t.Errorf("%s", said)
		}
	}
	all := filepath.Join(t.TempDir(), "all.pcapng")
	code, stdout, stderr = capd("extract", r.dir, "-c", "", "--alert", log, "-w", all)
	if code != exitUsage {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	stop()
	code, stdout, stderr = capd("extract", r.dir, "--alert", log, "--since", began.Format(time.RFC3339Nano), "--before", "0s", "--after", "0s", "-w", all, "--json")
	if code != exitIncomplete || strings.Count(stdout, `"complete":true`) != 2 {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	var d struct {
		Alerts     []struct{ ID, Flow string }
		File, Flow string
	}
	if err := json.Unmarshal([]byte(stdout[strings.LastIndex(strings.TrimSpace(stdout), "\n")+1:]), &d); err != nil || d.File != all || len(d.Alerts) != 2 || d.Alerts[1].ID != "9" || d.Flow != "10.0.0.1:102 10.0.0.2:443 udp" || d.Alerts[0].Flow != d.Flow {
		t.Errorf("%v, %+v", err, d)
	}
	if said := tooled(t, "capinfos", all); !strings.Contains(said, "Number of packets:   6") {
		t.Errorf("%s", said)
	}
	var asked []ledger.Entry
	for e, err := range ledger.ReadWith(r.dir, ledger.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == ledger.KindExtract {
			asked = append(asked, e)
		}
	}
	if len(asked) != 2 || asked[0].Packets != 6 || !strings.Contains(asked[0].Question, "--alert ") || !strings.Contains(asked[0].Question, ": flows of 2 answers: ") {
		t.Errorf("%+v", asked)
	}
}

// TestAlertUsage: what makes no sense.
func TestAlertUsage(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "eve.json")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code int
		part string
	}{
		dir + " --alert " + empty + " --last 1m":       {exitUsage, "--last does not go with --alert"},
		dir + " --alert " + empty + " --flow a":        {exitUsage, "two ends"},
		dir + " --alert " + empty + " --limit 1kB":     {exitUsage, "takes a file for each alert"},
		dir + " --alert " + empty + " --before -1s":    {exitUsage, "not negative"},
		dir + " --before 1s":                           {exitUsage, "--before goes with --alert"},
		dir + " --alert " + empty + "x":                {exitFailed, "no such file"},
		dir + " --alert " + empty:                      {exitFine, ""},
		dir + " --alert " + empty + " -w " + dir + "/": {exitFine, ""},
		dir + " --alert " + empty + " -w " + empty:     {exitFailed, "no file is replaced"},
	} {
		code, stdout, stderr := capd(append([]string{"extract"}, strings.Fields(args)...)...)
		if code != want.code || !strings.Contains(stdout+stderr, want.part) {
			t.Errorf("capd extract %s: exit %d, no %q in\n%s%s", args, code, want.part, stdout, stderr)
		}
	}
}

// TestFollowAlerts: alerts are answered as they come over a socket, as Suricata makes them, with what comes after them; limits do not
// delete what they need before that, and do afterwards. A signal ends it, and leaves nothing held.
func TestFollowAlerts(t *testing.T) {
	r, s, _ := extracting(t, "flush_interval = \"1h\"\n[retain]\ncount = 1\n")
	began := time.Now()
	socket, dir := filepath.Join(t.TempDir(), "alerts.sock"), filepath.Join(t.TempDir(), "found")
	cmd, errs := process(t, "extract", "-c", r.config, "--alert", "unix:"+socket, "--follow", "--before", "0s", "--after", "8s", "-w", dir+"/")
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = out
	said := func() string { return string(contents(t, out.Name())) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	r.await("its socket", func(*control.Status) bool {
		conn, err = net.Dial("unix", socket)
		return err == nil
	})
	defer conn.Close()
	file := func(payload string) { // records one file
		t.Helper()
		s.Send(udpFrame(1, 53, payload))
		r.await("a file", func(s *control.Status) bool { return len(s.Interfaces[0].Files) > 0 })
		if code, _, stderr := capd("rotate", "-c", r.config); code != 0 {
			t.Fatal(stderr)
		}
	}
	held := func(n int) func(*control.Status) bool {
		return func(s *control.Status) bool { return s.Directories[0].Held == n && s.Directories[0].Files == max(n, 1) }
	}
	file("before")
	fmt.Fprint(conn, eve(began, 7, 1, 53))
	r.await("a lease", held(1))
	for range 3 {
		file("after")
	}
	r.await("more held files than the limit has", held(4))
	r.await("an answer", func(*control.Status) bool { return strings.Contains(said(), "in "+dir) })
	if !strings.Contains(said(), ": complete: 4 packets of what was recorded from ") {
		t.Errorf("%s", said())
	}
	file("later")
	r.await("deletions", held(0))
	fmt.Fprint(conn, eve(time.Now().Add(-time.Hour), 8, 1, 53))
	r.await("another lease", held(1))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitIncomplete || !strings.Contains(errs.String(), "INCOMPLETE: interrupted before the answer to ") {
		t.Errorf("exit %d, %s", code, errs)
	}
	r.await("nothing held", held(0))
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is left")
	}
}
