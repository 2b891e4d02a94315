package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/pcap"
	"capd/store"
)

// TestExplain: with a flow table, extract reads a part of a file, and says before that which and why.
func TestExplain(t *testing.T) {
	dir := t.TempDir()
	begin := time.Unix(1767355200, 0).UTC()
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	b, record := enc.Header(), make([]byte, enc.MaxRecord())
	for i := range 2000 {
		frame := make([]byte, 1000)
		copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00\x00\x3c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x04\x00\x00\x35")
		if i/10 == 100 {
			frame[35] = 99
		}
		at := begin.Add(time.Duration(i) * time.Millisecond)
		n, _ := enc.Encode(record, []pcap.Packet{{Data: frame, Length: 1000, Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}})
		b = append(b, record[:n]...)
	}
	name := store.Name{Interface: "eth0", Start: begin, Sequence: 1, Format: pcap.PCAPNG}
	if err := os.WriteFile(filepath.Join(dir, name.String()), b, 0o600); err != nil {
		t.Fatal(err)
	}
	flow := []string{"--flow", "10.0.0.2:53 10.0.0.1:1123 udp"}
	ask := func(more ...string) (object map[string]any, text string) {
		t.Helper()
		args := append(append([]string{"extract", dir}, flow...), more...)
		code, stdout, stderr := capd(append(args, "--json")...)
		if err := json.Unmarshal([]byte(stdout), &object); err != nil {
			t.Fatalf("%v: exit %d, %s%s", args, code, stdout, stderr)
		}
		_, text, _ = capd(args...)
		return object, text
	}
	expect := func(what string, object map[string]any, want map[string]float64) {
		t.Helper()
		for k, v := range want {
			if got, _ := object[k].(float64); got != v {
				t.Errorf("%s: %s is %v, want %v", what, k, got, v)
			}
		}
	}
	object, text := ask("--explain")
	expect("without a table", object, map[string]float64{"read": float64(len(b)), "of_bytes": float64(len(b)), "tables": 0})
	if !strings.Contains(text, "it has no flow table") || !strings.Contains(text, "flow tables are asked for: flow 10.0.0.2:53 10.0.0.1:1123 udp") {
		t.Error(text)
	}
	object, _ = ask()
	expect("without a table", object, map[string]float64{"packets": 10, "read": float64(len(b)), "tables": 0})
	if code, _, stderr := capd("index", dir); code != 0 {
		t.Fatal(stderr)
	}
	object, text = ask("--explain", "udp")
	expect("with a table", object, map[string]float64{"of_bytes": float64(len(b))})
	if read, _ := object["read"].(float64); read < 250_000 || read > 270_000 || !strings.Contains(text, "1 of its 8 regions may have such packets by its flow table") ||
		!strings.Contains(text, "(udp) and (flow ") {
		t.Errorf("%v, %s", object["read"], text)
	}
	object, text = ask()
	expect("with a table", object, map[string]float64{"packets": 10, "of_files": 1})
	if read, _ := object["read"].(float64); read > 270_000 || !strings.Contains(text, "; read were ") {
		t.Errorf("%v, %s", object["read"], text)
	}
	object, text = ask("--explain", "tcp")
	expect("none", object, map[string]float64{"read": 0})
	if !strings.Contains(text, "it has no such packet by its flow table") {
		t.Error(text)
	}
	question, _ := object["question"].(string)
	if want := fmt.Sprintf("capd extract %s --flow '10.0.0.2:53 10.0.0.1:1123 udp' tcp", dir); question != want {
		t.Errorf("%s, want %s", question, want)
	}
	for _, bad := range [][]string{{"--flow", "10.0.0.1"}, {"--community-id", "1:x"}} {
		if code, _, stderr := capd(append([]string{"extract", dir}, bad...)...); code != exitUsage || !strings.Contains(stderr, bad[0]) {
			t.Errorf("%v: exit %d, %s", bad, code, stderr)
		}
	}
}
