package systemd_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// A count sends numbered frames, starting from 0, until end.
type count struct {
	end func() uint64 // returns the number of frames
}

// numberedType is the EtherType of these frames, which is experimental.
const numberedType = 0x88b6

func (r *rig) count(send *os.File) *count {
	stop, sent := make(chan struct{}), make(chan uint64, 1)
	end := sync.OnceValue(func() uint64 {
		close(stop)
		return <-sent
	})
	r.Cleanup(func() { end() })
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		f := make([]byte, 200)
		binary.BigEndian.PutUint16(f[12:], numberedType)
		for n := uint64(0); ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			case <-tick.C:
			}
			binary.BigEndian.PutUint64(f[14:], n)
			if _, err := send.Write(f); err != nil {
				r.Errorf("frame %d: %v", n, err)
			}
		}
	}()
	return &count{end}
}

// once checks that each of the frames is in exactly one of the directory's files, all of which must
// be finished.
func (r *rig) once(dir string, sent uint64) {
	r.Helper()
	r.allFinished(r.lab.Path(dir))
	times := make([]int, sent)
	names, _ := filepath.Glob(filepath.Join(r.lab.Path(dir), "*.pcapng"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			r.Fatal(err)
		}
		rd, err := pcap.NewReader(bytes.NewReader(data))
		if err != nil {
			r.Fatalf("%s: %v", name, err)
		}
		for {
			p, err := rd.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Fatalf("%s: %v", name, err)
			}
			if binary.BigEndian.Uint16(p.Data[12:]) == numberedType {
				times[binary.BigEndian.Uint64(p.Data[14:])]++
			}
		}
	}
	lost, twice := 0, 0
	for _, n := range times {
		if n == 0 {
			lost++
		}
		if n > 1 {
			twice++
		}
	}
	r.Logf("%d frames in %d files: %d lost, %d twice", sent, len(names), lost, twice)
	if lost+twice > 0 || sent == 0 {
		r.Errorf("of %d frames %d are lost, %d there twice", sent, lost, twice)
	}
}

// holdsOut are settings for a ring that is sufficient while a busy machine does other things: many
// small blocks, of which traffic uses up one every 20 ms.
const holdsOut = "snaplen = 2000\nblock_size = \"16KiB\"\n"

// testReloadUnderLoad: under load, reloads lose or duplicate no frame, whether the new
// configuration is applied in place, needs another ring, or is invalid, which systemctl reports.
// Limits are enforced inside the sandbox.
func testReloadUnderLoad(r *rig) {
	r.lab.Veth(r.T, "vreload-", "vreload")
	unit, dir := r.instance("reload", holdsOut)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vreload-")
	r.recorded(send, dir, "before")
	c := r.count(send)
	for n, step := range []struct {
		more string
		bad  bool
	}{
		{"rotate_interval = \"2s\"\n", false},
		{"rotate_intervall = \"2s\"\n", true},
		{"filter = \"ether[0] >= 0\"\n", false},
		{"filter = \"no such thing\"\n", true},
		{"directory = \"/etc/shadow\"\n", true},
		{"fanout = 2\n", false},
		{"promiscuous = false\n", false},
		{"", false},
	} {
		text := fmt.Sprintf(settings, dir, holdsOut+step.more, "vreload")
		if strings.HasPrefix(step.more, "directory") {
			text = strings.Replace(text, fmt.Sprintf("directory = %q", dir), "", 1)
		}
		r.lab.Write(r.T, "/etc/capd/reload.toml", text, 0o644)
		out, err := r.lab.Command("systemctl", "reload", unit).CombinedOutput()
		if bad := err != nil; bad != step.bad {
			r.Errorf("%q: %v %s", step.more, err, out)
		}
		r.recorded(send, dir, fmt.Sprintf("step%d.", n))
	}
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	r.once(dir, sent)
	if n := r.number(unit, "NRestarts"); n != 0 {
		r.Errorf("restarted %d times", n)
	}

	r.sh("systemctl start %s", unit)
	r.lab.Write(r.T, "/etc/capd/reload.toml", fmt.Sprintf(settings, dir, holdsOut+"rotate_interval = \"1s\"", "vreload")+"[retain]\ncount = 2\n", 0o644)
	r.sh("systemctl reload %s", unit)
	r.recorded(send, dir, "limited")
	r.lab.Await(r.T, "old files are deleted", func() bool {
		_, _ = send.Write(frame("more", 60))
		c, err := store.ReadContents(r.lab.Path(dir))
		return err == nil && c.Files <= 2
	})
}

// testRenamed: inside the sandbox, under load, an interface is renamed several times, and its
// recording continues without a frame lost or duplicated.
func testRenamed(r *rig) {
	r.lab.Veth(r.T, "vname-", "vname0")
	unit, dir := r.instance("name", holdsOut)
	text := strings.Replace(fmt.Sprintf(settings, dir, holdsOut, "vname*"), "[[interface]]", "exclude = [\"vname-\"]\n[[interface]]", 1)
	r.lab.Write(r.T, "/etc/capd/name.toml", text, 0o644)
	r.sh("systemctl start %s", unit)
	send := r.lab.Sender(r.T, "vname-")
	r.recorded(send, dir, "before")
	c := r.count(send)
	for n := range 10 {
		if out, err := r.lab.Command("ip", "link", "set", fmt.Sprint("vname", n), "name", fmt.Sprint("vname", n+1)).CombinedOutput(); err != nil {
			c.end()
			r.Skipf("needs a kernel that renames interfaces that are up: %s", out)
		}
		want := fmt.Sprintf("vname%d-", n+1)
		r.lab.Await(r.T, "it is recorded as "+want, func() bool {
			found, _ := filepath.Glob(filepath.Join(r.lab.Path(dir), want+"*"))
			return len(found) > 0
		})
	}
	sent := c.end()
	r.sh("systemctl stop %s", unit)
	r.once(dir, sent)
	for e := range ledger.Read(r.lab.Path(dir), nil) {
		if e.Kind == ledger.KindGap {
			r.Errorf("%+v", e)
		}
	}
}
