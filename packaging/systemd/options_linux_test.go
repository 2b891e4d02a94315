package systemd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// documented are configurations that together set every key of capd.toml.example to another value than
// the default. %[1]s is the name of the instance.
var documented = map[string]string{
	"capture": `
directory = "/var/lib/capd/%[1]s"
format = "pcap"
rotate_size = "1MiB"
rotate_interval = "1s"
flush_interval = "20ms"
sync_interval = "1s"
keep_empty = true
file_mode = "0600"
retain_bytes = "100MiB"
retain_age = "1h"
retain_count = 1000
snaplen = 128
promiscuous = false
direction = "in"
link_type = "ETHERNET"
filter = "ether proto 0x88b5"
ring_size = "4MiB"
block_size = "512KiB"
block_timeout = "20ms"
pool_size = "2MiB"
chunk_size = "512KiB"
direct = "off"
fanout = 2
fanout_mode = "cpu"
cpu = 0
wait = false
exclude = ["lo", "v%[1]s9"]
stop_timeout = "5s"
user = "capd"
sandbox = "on"
[[interface]]
name = "v%[1]s*"
exclude = ["v%[1]s8"]
`,
	"files": `
directory = "/var/lib/capd/%[1]s"
flush_interval = "20ms"
ring_size = "4MiB"
sandbox_paths = ["/var/lib/capd"]
[retain]
bytes = "1GiB"
age = "1d"
count = 10000
min_free = "1MiB"
keep_bytes = "1MiB"
keep_age = "1h"
keep_count = 1
hold_warn = "10%%"
[index]
enabled = true
[finished]
compress = "zstd"
level = 3
seekable = true
hook = ["/bin/true"]
timeout = "1m"
at_once = 2
keep_until = ["compress", "hook"]
[control]
socket = "/run/capd-%[1]s/control.sock"
group = "capd-read"
metrics = "127.0.0.1:9471"
[log]
level = "debug"
format = "text"
file = "/var/lib/capd/%[1]s/capd.log"
max_size = "1MiB"
max_age = "1d"
max_backups = 1
compress = true
[[interface]]
name = "v%[1]s"
`,
	"cooked": `
directory = "/var/lib/capd/%[1]s"
flush_interval = "20ms"
ring_size = "4MiB"
format = "pcap-us"
direct = "auto"
sandbox = "off"
[[interface]]
name = "v%[1]s"
link_type = "LINUX_SLL"
`,
	"encrypted": `
directory = "/var/lib/capd/%[1]s"
flush_interval = "20ms"
ring_size = "4MiB"
[encrypt]
recipients = ["age1rxwr232d77u55etncnc6vsgmutcgyj47n6k5885xgrmmv3e9pyxsv4lm5e"]
recipients_file = "/etc/capd/%[1]s.recipients"
[[interface]]
name = "v%[1]s"
`,
	"sealed": `
directory = "/var/lib/capd/%[1]s"
flush_interval = "20ms"
ring_size = "4MiB"
[seal]
enabled = true
evolve = "1m"
keys = "/var/lib/capd-seal"
[[interface]]
name = "v%[1]s"
`,
	"all": `
directory = "/var/lib/capd/%[1]s"
flush_interval = "20ms"
ring_size = "4MiB"
[[interface]]
name = "any"
filter = "ether proto 0x88b5"
`,
}

// testDocumented: in the unit's sandbox capd records by every documented key, without a restart.
func testDocumented(r *rig) {
	example, err := os.ReadFile("../../capd.toml.example")
	if err != nil {
		r.Fatal(err)
	}
	all := strings.Join([]string{documented["capture"], documented["files"], documented["cooked"], documented["encrypted"], documented["sealed"], documented["all"]}, "")
	for _, key := range regexp.MustCompile(`(?m)^([a-z_]+) = `).FindAllStringSubmatch(string(example), -1) {
		if !strings.Contains(all, "\n"+key[1]+" = ") {
			r.Errorf("%s is not tried", key[1])
		}
	}
	for name, text := range documented {
		r.lab.Veth(r.T, "w"+name, "v"+name)
		send := r.lab.Sender(r.T, "w"+name)
		unit, dir := "capd@"+name+".service", "/var/lib/capd/"+name
		r.lab.Write(r.T, "/etc/capd/"+name+".toml", fmt.Sprintf(text, name), 0o644)
		r.lab.Write(r.T, "/etc/capd/"+name+".recipients", "# another one\nage17ky7t5uqejkpm06ykq2vzj2mp9cs7ym20pgsd0n3jh5wq23jz32sksgeqt\n", 0o644)
		if strings.Contains(text, "[seal]") {
			r.sh("capd seal init -c /etc/capd/%s.toml", name)
		}
		r.sh("systemctl start %s", unit)
		if strings.Contains(text, "[encrypt]") {
			r.encrypted(send, dir, unit)
		} else {
			r.recorded(send, dir, "by "+name)
		}
		if strings.Contains(text, "[index]") {
			r.sh("kill -USR1 %d", r.number(unit, "MainPID"))
			r.lab.Await(r.T, "a flow table", func() bool {
				tables, _ := filepath.Glob(r.lab.Path(dir) + "/*.flows.parquet")
				return len(tables) > 0
			})
		}
		if n := r.number(unit, "NRestarts"); n != 0 {
			r.Errorf("%s: restarted %d times", name, n)
		}
		r.sh("systemctl stop %s", unit)
		if result := r.property(unit, "Result"); result != "success" {
			r.Errorf("%s: %s", name, result)
		}
		if strings.Contains(text, "[seal]") {
			r.sh("capd verify --key /var/lib/capd-seal/*.pub %s", dir)
		}
	}
}

// encrypted: frames are in files that are encrypted, also after a reload, for which the list of recipients is read again. Nothing of them is
// there in plaintext.
func (r *rig) encrypted(send *os.File, dir, unit string) {
	r.Helper()
	const text = "never in plaintext"
	grown := func(files int) func() bool {
		return func() bool {
			for range 200 {
				_, _ = send.Write(frame(text, 1000))
			}
			all, _ := filepath.Glob(r.lab.Path(dir) + "/*.pcapng.age*")
			grown := 0
			for _, path := range all {
				if info, err := os.Stat(path); err == nil && info.Size() > 64<<10 {
					grown++
				}
			}
			return grown >= files
		}
	}
	r.lab.Await(r.T, "an encrypted file", grown(1))
	r.lab.Write(r.T, "/etc/capd/encrypted.recipients", "# nobody else any more\n", 0o644)
	r.sh("systemctl reload %s", unit)
	r.lab.Await(r.T, "a file for other recipients", grown(2))
	if r.holds(dir, text) {
		r.Errorf("a file has plaintext")
	}
}
