package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"capd/internal/index"
	"capd/pcap"
)

// flowCapture makes a capture file of three packets: two of a TCP connection, one of another host.
func flowCapture(t *testing.T) (dir string) {
	t.Helper()
	ip := func(from, to byte, sport, dport byte) []byte {
		b := append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to, 0, sport, 0, dport}, make([]byte, 16)...)
		return b
	}
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeRaw, Interface: "tun\x1b0"})
	b := enc.Header()
	record := make([]byte, enc.MaxRecord())
	for i, data := range [][]byte{ip(1, 2, 9, 80), ip(2, 1, 80, 9), ip(3, 2, 8, 80)} {
		n, _ := enc.Encode(record, []pcap.Packet{{Data: data, Length: 40, Sec: 1767355200 + uint32(i)}})
		b = append(b, record[:n]...)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.pcapng"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs, nil)
	return code, out.String(), errs.String()
}

func TestFlows(t *testing.T) {
	dir := flowCapture(t)
	_, before, _ := command("flows", dir, "--csv")
	code, out, errs := command("index", dir)
	if code != exitFine || !strings.HasPrefix(out, filepath.Join(dir, "x.pcapng.flows.parquet")+": 2 rows of 3 packets, ") {
		t.Fatalf("%d, %q, %q", code, out, errs)
	}
	if _, out, _ = command("index", dir); !strings.HasSuffix(out, ", was there\n") {
		t.Errorf("again: %q", out)
	}
	code, out, errs = command("flows", dir)
	if code != exitFine || !strings.Contains(out, `"tun\x1b0"`) || !strings.Contains(out, "10.0.0.1:9") || !strings.Contains(out, "2 flows, 3 packets, 120 B; 1 file by table, 0 by") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
	_, after, _ := command("flows", dir, "--csv")
	rows, err := csv.NewReader(strings.NewReader(after)).ReadAll()
	if before != after || err != nil || len(rows) != 3 || len(rows[0]) != 19 {
		t.Errorf("%v:\n%s, before\n%s", err, after, before)
	}
	_, out, _ = command("flows", dir, "--json", "--since", "2026-01-02T12:00:02Z")
	var a index.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil || len(a.Flows) != 1 || a.Flows[0].A != "10.0.0.3" || *a.Flows[0].BPort != 80 || a.Tables != 1 {
		t.Errorf("%v: %s", err, out)
	}
	for _, test := range []struct{ expr, want string }{
		{"port 8", "1 flow, 1 packet, 40 B; 1 file by table, 0 by reading it, 0 without"},
		{"udp", "0 flows, 0 packets, 0 B; 0 files by table, 0 by reading it, 1 without"},
		{"ip[8] = 64 and src host 10.0.0.2", "1 flow, 1 packet, 40 B; 0 files by table, 1 by reading it, 0 without"},
	} {
		if code, out, errs := command(append([]string{"flows", dir}, strings.Fields(test.expr)...)...); code != exitFine || !strings.Contains(out, test.want) {
			t.Errorf("%s: %d, %s%s", test.expr, code, out, errs)
		}
	}
	var built []indexJSON
	_, out, _ = command("index", "--force", "--json", filepath.Join(dir, "x.pcapng"))
	if err := json.Unmarshal([]byte(out), &built); err != nil || len(built) != 1 || !built[0].Made || built[0].Packets != 3 || built[0].Rows != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestFlowsRefuses: what makes no sense on the command line, and files that can't be read.
func TestFlowsRefuses(t *testing.T) {
	dir := flowCapture(t)
	for _, args := range [][]string{
		{"--json", "--csv"}, {"--by", "size"}, {"--top", "-1"}, {"--last", "1h", "--since", "14:00"}, {"--last", "soon"}, {"another"}, {"host"}, {dir},
	} {
		if code, _, errs := command(append([]string{"flows", dir}, args...)...); code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, errs)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "y.pcap"), []byte("no capture file"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command("flows", dir)
	if code != exitFailed || !strings.Contains(out, "2 flows") || !strings.Contains(errs, "y.pcap") {
		t.Errorf("%d, %s, %s", code, out, errs)
	}
	if code, _, errs = command("index", dir); code != exitFailed || !strings.Contains(errs, "y.pcap") {
		t.Errorf("%d, %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "x.pcapng.flows.parquet")); err != nil {
		t.Errorf("the other file has no table: %v", err)
	}
}
