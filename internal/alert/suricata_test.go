package alert

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/pcap"
)

// suricataConfig makes Suricata write alerts and flows alone.
const suricataConfig = `%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      community-id: yes
      types: [alert, flow]
logging:
  default-log-level: warning
`

// suricata returns the command of the Suricata in the directory of CAPD_SURICATA, where scripts/suricata has unpacked it, or of one that
// is installed.
func suricata(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	root := os.Getenv("CAPD_SURICATA")
	if root == "" {
		if _, err := exec.LookPath("suricata"); err != nil {
			t.Skip("./scripts/test suricata runs it")
		}
		return exec.Command("suricata", args...)
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "usr/bin/suricata"), args...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(append(libraries, filepath.Join(root, "usr/lib")), ":"))
	return cmd
}

// TestSuricata: of what Suricata says about a recording, each alert and each flow gets all packets of one conversation and no others,
// whatever time the alert has.
func TestSuricata(t *testing.T) {
	r, _ := talk(t)
	r.write(minutes, false)
	dir := t.TempDir()
	capture := filepath.Join(dir, "all.pcap")
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, Micro: true, LinkType: pcap.LinkTypeEthernet})
	b, record := enc.Header(), make([]byte, enc.MaxRecord())
	for i := range r.frames {
		f := &r.frames[i]
		n, _ := enc.Encode(record, []pcap.Packet{{Data: f.data, Length: uint32(len(f.data)), Sec: uint32(f.at.Unix()), Nsec: uint32(f.at.Nanosecond())}})
		b = append(b, record[:n]...)
	}
	r.must(os.WriteFile(capture, b, 0o600))
	config, rules := filepath.Join(dir, "suricata.yaml"), filepath.Join(dir, "all.rules")
	r.must(os.WriteFile(config, []byte(suricataConfig), 0o600))
	r.must(os.WriteFile(rules, []byte("alert ip any any -> any any (msg:\"any\"; sid:1;)\n"), 0o600))
	for _, mode := range []string{"single", "autofp"} {
		log := filepath.Join(dir, mode)
		r.must(os.Mkdir(log, 0o700))
		if out, err := suricata(t, "-c", config, "-S", rules, "-l", log, "-r", capture, "-k", "none", "--runmode", mode).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		eve, err := os.ReadFile(filepath.Join(log, "eve.json"))
		r.must(err)
		found, alerts := make(map[string]int), 0 // conversations go on after their first alerts
		for _, d := range r.answer(string(eve), func(q *Asker) { q.Window.After = 10 * time.Minute }) {
			name, why := r.whole(d)
			if why != "" {
				t.Errorf("%s: %s: %s", mode, d.Say(), why)
				continue
			}
			found[name] += len(d.Alerts)
			alerts += len(d.Alerts)
		}
		t.Logf("%s: %d lines; conversations, and how many lines have their packets: %v", mode, alerts, found)
		for _, c := range conversations() {
			name := c.name
			switch name {
			case "first", "second":
				name = "port"
			case "ipip": // of which it says only what carries it
				name = "outer6"
			}
			if found[name] == 0 {
				t.Errorf("%s: nothing is about %s", mode, name)
			}
		}
	}
}

// whole says which conversation the packets of an answer are, and what is wrong if they are not one, or not all of it.
func (r *recording) whole(d *Done) (name, why string) {
	got := r.packets(d.File)
	var of []string
	for i := range r.frames {
		f := &r.frames[i]
		if !slices.ContainsFunc(got, func(b []byte) bool { return bytes.Equal(b, f.data) }) {
			continue
		}
		if of == nil {
			of = slices.Clone(f.of)
		}
		of = slices.DeleteFunc(of, func(s string) bool { return !slices.Contains(f.of, s) })
	}
	for _, name := range of {
		if want := r.came(name, noon, noon.Add(time.Hour)); slices.EqualFunc(got, want, bytes.Equal) {
			return name, ""
		}
	}
	return "", fmt.Sprintf("%d packets, common are %q", len(got), of)
}
