package config

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		text, want string // want is the start of the only mistake; empty: no mistake
	}{
		{`directory = "capd"`, `1: directory = "capd": must be an absolute path`},
		{`directory = ""`, `1: directory = "": must be an absolute path`},
		{`directory = "/a\u0000"`, `1: directory = "/a\x00": must be an absolute path`},
		{`snaplen = 1`, ``},
		{`snaplen = 262144`, ``},
		{`snaplen = 262145`, `1: snaplen = 262145: must be 1 to 262144 bytes`},
		{`snaplen = -1`, `1: snaplen = -1: must be 1 to 262144 bytes`},
		{`direction = "inn"`, `1: direction = "inn": must be one of "both", "in", "out"; did you mean "in"?`},
		{`link_type = "IEEE802_11_RADIO"`, ``},
		{`link_type = "127"`, ``},
		{`link_type = "Wi-Fi"`, `1: link_type = "Wi-Fi": must be the name of a link type`},
		{`link_type = 127`, `1: link_type = 127: must be a string`},
		{`format = "pcap-ng"`, `1: format = "pcap-ng": must be one of "pcap", "pcap-us", "pcapng"; did you mean "pcapng"?`},
		{`direct = "always"`, `1: direct = "always": must be one of "auto", "off"`},
		{`fanout = 0`, `1: fanout = 0: must be a number of rings`},
		{`fanout = 65`, `1: fanout = 65: must be a number of rings`},
		{`fanout_mode = "hash"`, `1: fanout_mode = "hash": must be`},
		{`rotate_interval = "1500ms"`, `1: rotate_interval = "1s500ms": must be whole seconds`},
		{`retain_count = -1`, `1: retain_count = -1: must not be negative`},
		{"[retain]\nmin_free = \"100%\"", `2: retain.min_free = "100%": must be`},
		{"[retain]\nhold_warn = \"101%\"", `2: retain.hold_warn = "101%": must be 0% to 100%, or a size`},
		{"[retain]\nmin_free = \"x%\"", `2: retain.min_free = "x%": must be a size`},
		{"[retain]\nbytes = \"1GiB\"\nkeep_bytes = \"2GiB\"", `3: retain.keep_bytes = "2GiB": must not exceed bytes`},
		{"[finished]\ncompress = \"zip\"", `2: finished.compress = "zip": must be one of`},
		{"[finished]\ncompress = \"gzip\"\nlevel = 10", `3: finished.level = 10: must be 1, the fastest, to 9`},
		{"[finished]\nhook = [\"rm\"]", `2: finished.hook = ["rm"]: must begin with the absolute path`},
		{"[finished]\nat_once = 0", `2: finished.at_once = 0: must be 1 to 64`},
		{"[finished]\ntimeout = \"0s\"", `2: finished.timeout = "0": must be at least 1s`},
		{"[finished]\nhook = [\"/bin/true\"]\nkeep_until = [\"hok\"]",
			`3: finished.keep_until = "hok": must be one of "seal", "index", "compress", "hook"; did you mean "hook"?`},
		{"[finished]\nkeep_until = [\"index\"]", `2: finished.keep_until = "index": no flow tables are made: all files would stay for ever; set enabled in [index], or take "index" out`},
		{"[finished]\nkeep_until = [\"hook\"]", `2: finished.keep_until = "hook": there is no hook: all files would stay for ever; set hook, or take "hook" out`},
		{"[finished]\nhook = [\"/bin/true\"]\nkeep_until = [\"hook\", \"compress\"]",
			`3: finished.keep_until = "compress": no file is compressed: all would stay for ever; set compress, or take "compress" out`},
		{"[finished]\nhook = [\"/bin/true\"]\ncompress = \"zstd\"\nkeep_until = [\"hook\", \"compress\"]", ``},
		{"[finished]\nkeep_until = \"hook\"", `2: finished.keep_until = "hook": must be a list of strings`},
		{`cpu = -2`, `1: cpu = -2: must be a CPU's number`},
		{`cpu = 1024`, `1: cpu = 1024: must be a CPU's number`},

		{`block_size = "1000000"`, `1: block_size = "1MB": must be a multiple of 4096 bytes, the page size, and at most 1GiB; write "976KiB" or "980KiB"`},
		{`block_size = 0`, `1: block_size = "0": must be a multiple of 4096 bytes, the page size, and at most 1GiB; at least 4KiB`},
		{`block_size = -9223372036854775808`, `1: block_size = "-8388608TiB": must be a multiple of 4096`},
		{`block_size = 9223372036854775807`, `1: block_size = "9223372036854775807B": must be a multiple of 4096`},
		{`block_size = "256KiB"`, `1: block_size = "256KiB": is too small for a frame of snaplen 262144 bytes and its headers; at least 260KiB, or a smaller snaplen`},
		{"block_size = \"64KiB\"\nsnaplen = 61440", ``},
		{"snaplen = 61441\nblock_size = \"64KiB\"", `2: block_size = "64KiB": is too small for a frame of snaplen 61441 bytes`},
		{`block_size = "64MiB"`, ``},
		{"ring_size = \"128MiB\"\nblock_size = \"64MiB\"", `1: ring_size = "128MiB": must be a multiple of block_size (64MiB), at least 4 blocks and at most 64GiB; at least 256MiB`},
		{`ring_size = "10000000"`, `1: ring_size = "10MB": must be a multiple of block_size (1MiB), at least 4 blocks and at most 64GiB; write "9MiB" or "10MiB"`},
		{`ring_size = "3MiB"`, `1: ring_size = "3MiB": must be a multiple of block_size (1MiB), at least 4 blocks`},
		{`ring_size = "4MiB"`, ``},
		{`ring_size = "64GiB"`, ``},
		{`ring_size = "65GiB"`, `1: ring_size = "65GiB": must be a multiple`},
		{`block_timeout = "1ms"`, ``},
		{`block_timeout = 0`, `1: block_timeout = "0": must be whole milliseconds, 1ms to 1m`},
		{`block_timeout = "1500us"`, `1: block_timeout = "1ms500us": must be whole milliseconds`},
		{`block_timeout = "-1ms"`, `1: block_timeout = "-1ms": must be whole milliseconds`},
		{`block_timeout = "61s"`, `1: block_timeout = "1m1s": must be whole milliseconds`},

		{`rotate_size = "260KiB"`, ``},
		{`rotate_size = "256KiB"`, `1: rotate_size = "256KiB": must be 0 (never) or hold a frame of snaplen 262144 bytes and its headers; at least 260KiB`},
		{`rotate_size = -1`, `1: rotate_size = "-1B": must be 0 (never) or hold`},
		{"snaplen = 100\nrotate_size = \"8KiB\"", ``},
		{`rotate_interval = "1s"`, ``},
		{`rotate_interval = "999ms"`, `1: rotate_interval = "999ms": must be 0 (never) or at least 1s`},
		{`rotate_interval = "-1h"`, `1: rotate_interval = "-1h": must be 0 (never) or at least 1s`},
		{`flush_interval = "10ms"`, ``},
		{`flush_interval = "9ms"`, `1: flush_interval = "9ms": must be 0 (only when a chunk is full) or at least 10ms`},
		{`file_mode = "0440"`, `1: file_mode = "0440": must be 0600 to 0777`},
		{`file_mode = "1640"`, `1: file_mode = "1640": must be 0600 to 0777`},

		{`chunk_size = "508KiB"`, `1: chunk_size = "508KiB": must be a multiple of 4096 bytes, which O_DIRECT requires, and 512KiB to 1GiB; at least 512KiB`},
		{`chunk_size = "1MB"`, `1: chunk_size = "1MB": must be a multiple of 4096 bytes`},
		{`chunk_size = "512KiB"`, ``},
		{`chunk_size = "16MiB"`, ``},
		{`chunk_size = "256MiB"`, ``},
		{"pool_size = \"256MiB\"\nchunk_size = \"256MiB\"", `1: pool_size = "256MiB": must be "auto" or at least 2 chunks of chunk_size (256MiB), one to fill while one is written, and at most 64GiB; at least 512MiB`},
		{`pool_size = "auto"`, ``},
		{`pool_size = 0`, `1: pool_size = 0: must be a size, as "64MiB", or "auto"`},
		{`pool_size = "0"`, `1: pool_size = "0": must be a size, as "64MiB", or "auto"; write "auto" or a size above 0`},
		{`pool_size = -1`, `1: pool_size = "-1B": must be "auto" or at least 2 chunks`},
		{`pool_size = "Auto"`, `1: pool_size = "Auto": must be a size, as "64MiB", or "auto"; it does not start with a number`},

		{`stop_timeout = 0`, `1: stop_timeout = "0": must be above 0`},
		{`user = "a b"`, `1: user = "a b": must be a user's name`},
		{`sandbox = "offf"`, `1: sandbox = "offf": must be one of "auto", "on", "off"; did you mean "off"?`},
		{`sandbox_paths = ["backup"]`, `1: sandbox_paths = "backup": must be an absolute path`},
		{`stop_timeout = "-5s"`, `1: stop_timeout = "-5s": must be above 0`},
		{"[log]\nlevel = \"warning\"", `2: log.level = "warning": must be one of "debug", "info", "warn", "error"`},
		{"[log]\nformat = \"xml\"", `2: log.format = "xml": must be one of "text", "json", "auto"`},
		{"[log]\nfile = \"log\"", `2: log.file = "log": must be an absolute path`},
		{"[log]\nmax_size = -1", `2: log.max_size = "-1B": must not be negative`},
		{"[log]\nmax_age = \"-1d\"", `2: log.max_age = "-1d": must not be negative`},
		{"[log]\nmax_backups = -1", `2: log.max_backups = -1: must not be negative`},
	} {
		mistake(t, c.text, c.want)
	}
}

func TestInterfaceRanges(t *testing.T) {
	long, odd := strings.Repeat("x", 128), strings.Repeat("é", 31)
	const head = "[[interface]]\n"
	for _, c := range []struct {
		text, want string
	}{
		{head + `name = "any"`, ``},
		{head + `name = "nflog:5"`, ``},
		{head + `name = "fifteen-bytes-x"`, ``},
		{head + `name = "` + long + `"`, fmt.Sprintf(`2: interface %q: name = %s: is 128 bytes, and interface names have at most `, clip(long), literal(long))},
		{head + `name = "` + odd + `"`, fmt.Sprintf(`2: interface %q: name = %s: is too long for the names of files, `, clip(odd), literal(odd))},
		{head + `name = "sixteen-bytes-x*"`, ``},
		{head, `1: interface 1: name = "": must name an interface`},
		{head + `name = ""`, `2: interface 1: name = "": must name an interface`},
		{head + `name = "eth/0"`, `2: interface "eth/0": name = "eth/0": interface names have no slash`},
		{head + `name = "eth0:1"`, `2: interface "eth0:1": name = "eth0:1": interface names have no slash, colon`},
		{head + `name = ".."`, `2: interface "..": name = "..": interface names have`},
		{head + `name = "a/*"`, `2: interface "a/*": name = "a/*": interface names have no slash`},
		{head + `name = "eth[0"`, `2: interface "eth[0": name = "eth[0": is not a valid glob; * is any characters`},
		{head + `name = "*x[0"`, `2: interface "*x[0": name = "*x[0": is not a valid glob`},
		{head + "name = \"eth*\"\nexclude = [\"eth9\", \"eth1?\"]", ``},
		{head + "name = \"eth*\"\nexclude = [\"eth[\"]", `3: interface "eth*": exclude = "eth[": is neither an interface nor a glob`},
		{head + "name = \"eth*\"\nexclude = [\"\"]", `3: interface "eth*": exclude = "": is neither`},
		{head + "name = \"eth0\"\nexclude = [\"eth1\"]", `3: interface "eth0": exclude = ["eth1"]: applies to a glob, and name is not a glob; remove it`},
		{head + "name = \"eth0\"\n" + head + "name = \"eth1\"\n" + head + "name = \"eth0\"",
			`6: interface "eth0": name = "eth0": must not be named twice; merge it with interface 1`},
		{head + "name = \"eth0\"\nsnaplen = 0", `3: interface "eth0": snaplen = 0: must be 1 to 262144`},
		{"snaplen = 0\n" + head + "name = \"eth0\"", `1: snaplen = 0: must be 1 to 262144`},
		{"ring_size = \"32MiB\"\n" + head + "name = \"eth0\"\nblock_size = \"16MiB\"",
			`4: interface "eth0": ring_size = "32MiB": must be a multiple of block_size (16MiB)`},
		{"ring_size = \"3MiB\"\n" + head + "name = \"eth0\"\nring_size = \"8MiB\"", `1: ring_size = "3MiB": must be`},
	} {
		mistake(t, c.text, c.want)
	}
}

// mistake fails unless the text has exactly one mistake, which starts with want, or none if want is
// empty.
func mistake(t *testing.T, text, want string) {
	t.Helper()
	_, err := Parse("capd.toml", []byte(text))
	switch {
	case err == nil && want != "":
		t.Errorf("%s\nhas no mistake, want %s", text, want)
	case err == nil:
	case want == "", !strings.HasPrefix(err.Error(), "capd.toml:"+want), len(err.(Errors)) != 1:
		t.Errorf("%s\nhas the mistakes\n%v\nwant\n%s", text, err, want)
	}
}

func TestValidateWantsAnInterface(t *testing.T) {
	c := Default()
	err := c.Validate()
	const want = `interface: no interface to record; add [[interface]] and name = "eth0"`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	c.Interfaces = []Interface{{Name: "eth0", Recording: c.Recording}}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// Settings that did not come from a file may hold values that no text can express.
func TestValidateStandsAnything(t *testing.T) {
	var zero Config
	zero.Interfaces = make([]Interface, 2)
	if n := len(zero.Validate().(Errors)); n < 10 {
		t.Errorf("an empty Config has %d mistakes", n)
	}
	for _, n := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		r := Recording{RingSize: AutoSize(n), BlockSize: Size(n), ChunkSize: Size(n), PoolSize: AutoSize(n), RotateSize: Size(n),
			RotateInterval: Duration(n), FlushInterval: Duration(n), BlockTimeout: Duration(n), Snaplen: int(n), CPU: int(n)}
		c := Config{Recording: r, StopTimeout: Duration(n), Interfaces: []Interface{{Name: "eth0", Recording: r}}}
		if c.Validate() == nil {
			t.Errorf("%d everywhere has no mistakes", n)
		}
	}
	c := Default()
	c.FlushInterval = Duration(time.Millisecond)
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "flush_interval") {
		t.Error(err)
	}
}
