package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/read"
	"capd/internal/testnet"
	"capd/ledger"
	"capd/pcap"
	"capd/store"

	"filippo.io/age"
)

// A testKey is a private key in a file, and what makes capd encrypt for it.
type testKey struct {
	id    *age.X25519Identity
	path  string
	table string // of the configuration
}

// newTestKey makes a key. The table names the other ones too.
func newTestKey(t testing.TB, others ...*testKey) *testKey {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	k := &testKey{id: id, path: filepath.Join(t.TempDir(), "key.txt")}
	if err := os.WriteFile(k.path, []byte("# made by a test\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recipients := fmt.Sprintf("%q", id.Recipient())
	for _, other := range others {
		recipients += fmt.Sprintf(", %q", other.id.Recipient())
	}
	k.table = "[encrypt]\nrecipients = [" + recipients + "]"
	return k
}

// decrypt decrypts a finished file to another, as age does.
func (k *testKey) decrypt(t *testing.T, path string) (plain string) {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	src, err := age.Decrypt(h, k.id)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	plain = filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(path), ".age"))
	to, err := os.Create(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, src); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return plain
}

// plaintext returns a file with what is in a file, decrypted if it is encrypted.
func (r *restarts) plaintext(t *testing.T, path string) string {
	t.Helper()
	if r.key == nil || !strings.HasSuffix(path, ".age") {
		return path
	}
	return r.key.decrypt(t, path)
}

// secret is in frames, and must be in no file.
const secret = "nobody else may read this"

// TestEncrypted: what a capd records for a recipient is age files, growing ones too. Each command that reads files reads them with the
// key, and says what is missing without it. A reload changes the recipients, and capd goes on in plain files when there are none. age
// decrypts a finished file, and tshark opens that.
func TestEncrypted(t *testing.T) {
	first, second := newTestKey(t), newTestKey(t)
	r, s, stop := extracting(t, `flush_interval = "50ms"`+"\n"+first.table)
	send := func(port uint16, n int) {
		for range n {
			s.Send(udpFrame(1, port, strings.Repeat(secret, 40)))
		}
	}
	send(101, 300) // more than three pieces
	r.await("frames", func(s *control.Status) bool { return s.Interfaces[0].Received >= 300 })
	out := filepath.Join(t.TempDir(), "out.pcapng")
	code, stdout, stderr := capd("extract", "-c", r.config, "--identity", first.path, "-w", out)
	if code != exitIncomplete || !strings.Contains(stderr, "newest packets not on the disk yet") {
		t.Errorf("of a file that grows: exit %d\n%s%s", code, stdout, stderr)
	}
	if n := strings.Count(tooled(t, "tshark", "-r", out), "UDP"); n < 180 || n > 300 {
		t.Errorf("%d packets of a file that grows; at least three pieces of 300 were expected", n)
	}
	next := func(table, ext string) { // the successor takes over in the background, and its file begins with a packet
		t.Helper()
		before := r.status().Interfaces[0].Files
		if code, says := r.reload(r.dir, table); code != 0 {
			t.Fatalf("reload: %s", says)
		}
		r.await("another file", func(s *control.Status) bool {
			send(100, 1)
			now := s.Interfaces[0].Files
			return len(now) == 1 && !slices.Equal(now, before) && strings.HasSuffix(now[0], ext+store.Partial)
		})
	}
	next(second.table, ".age")
	send(102, 200)
	noPlaintext(t, r.dir)
	next("", ".pcapng")
	s.Send(udpFrame(1, 103, "plain"))
	stop()

	files := entriesOf(t, r.dir)
	if len(files) != 3 || !strings.HasSuffix(files[0], ".pcapng.age") || !strings.HasSuffix(files[1], ".pcapng.age") || !strings.HasSuffix(files[2], ".pcapng") {
		t.Fatalf("%q", files)
	}
	sizesAreRight(t, r.dir)
	const asked = "udp port 101 or 102 or 103"
	// With all keys the answer is complete; in the order of the keys or not.
	code, stdout, stderr = capd("extract", r.dir, "--identity", second.path, "--identity", first.path, "-w", "-", asked)
	if code != exitFine || !strings.HasPrefix(stderr, "capd: complete: 501 packets") {
		t.Errorf("with both keys: exit %d, %d bytes\n%s", code, len(stdout), stderr)
	}
	// A mixed directory: what can be read is read, and the rest is named.
	for _, one := range []struct {
		keys []string
		n    int
		says string
	}{
		{nil, 1, "--identity FILE"},
		{[]string{"--identity", first.path}, 301, "none of the keys"},
		{[]string{"--identity", newTestKey(t).path}, 1, "none of the keys"},
	} {
		code, _, stderr = capd(append(append([]string{"extract", r.dir}, one.keys...), asked)...)
		if code != exitIncomplete || !strings.HasPrefix(stderr, fmt.Sprintf("capd: INCOMPLETE: %d packet", one.n)) || !strings.Contains(stderr, "encrypted") || !strings.Contains(stderr, one.says) {
			t.Errorf("%q: exit %d, %d packets were expected\n%s", one.keys, code, one.n, stderr)
		}
	}
	enc := filepath.Join(r.dir, files[0])
	for _, args := range [][]string{{"filter", "-r", enc}, {"watch", "-r", enc}} {
		code, _, stderr = capd(args...)
		if code != exitFailed || !strings.Contains(stderr, "encrypted, and no key") || !strings.Contains(stderr, "hint: --identity FILE") {
			t.Errorf("%q: exit %d\n%s", args, code, stderr)
		}
		code, _, stderr = capd(append(args, "--identity", second.path)...)
		if code != exitFailed || !strings.Contains(stderr, "encrypted for other keys") {
			t.Errorf("%q with another key: exit %d\n%s", args, code, stderr)
		}
		code, stdout, stderr = capd(append(args, "--identity", first.path, "udp port 101")...)
		if code != exitFine || !strings.Contains(stdout, "300 of ") && strings.Count(stdout, "10.0.0.2:101") != 300 {
			t.Errorf("%q with the key: exit %d\n%.300s%s", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr = capd("flows", r.dir, "--identity", first.path, "--identity", second.path, "--json")
	if code != exitFine || strings.Count(stdout, `"a_packets": 300`) == 0 || strings.Count(stdout, `"a_packets": 200`) == 0 {
		t.Errorf("flows: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = capd("flows", r.dir); code != exitFailed || !strings.Contains(stdout+stderr, "no key to decrypt it") {
		t.Errorf("flows without a key: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr = capd("index", enc); code != exitFailed || !strings.Contains(stderr, "no flow tables") {
		t.Errorf("index: exit %d\n%s", code, stderr)
	}
	if code, stdout, _ = capd("list", r.dir, "--json"); code != exitFine || strings.Count(stdout, `"encrypted": true`) != 2 {
		t.Errorf("list: exit %d\n%s", code, stdout)
	}
	plain := filepath.Join(t.TempDir(), "plain.pcapng")
	tooled(t, "age", "-d", "-i", first.path, "-o", plain, enc)
	if said := tooled(t, "tshark", "-r", plain, "udp.port == 101"); strings.Count(said, "UDP") != 300 {
		t.Errorf("tshark sees %.300s", said)
	}
}

// entriesOf returns the names of the capture files of a directory, in the order of their sequence numbers.
func entriesOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, _, err := store.Parse(e.Name()); err == nil {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(sequenceOf(a)) - int(sequenceOf(b)) })
	return names
}

func sequenceOf(name string) uint64 {
	n, _, _ := store.Parse(name)
	return n.Sequence
}

// noPlaintext fails the test if a file of the directory has the secret.
func noPlaintext(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it was just renamed
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s has plaintext", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sizesAreRight fails the test if the ledger says another size of a file than the disk.
func sizesAreRight(t *testing.T, dir string) {
	t.Helper()
	for e, err := range ledger.Read(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != ledger.KindFile {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name)); err != nil || uint64(info.Size()) != e.Size {
			t.Errorf("%s: the ledger says %d bytes, the disk %v, %v", e.Name, e.Size, info.Size(), err)
		}
	}
}

// TestKillEncrypted kills capd while it records encrypted files, without anybody who keeps what it leaves. Each file that the next run
// finishes has its whole pieces: every frame up to the last of them, once and in order. No plaintext is on the disk.
func TestKillEncrypted(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	key := newTestKey(t)
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	file := filepath.Join(dir, "capd.toml")
	text := fmt.Sprintf("%s\n%s\n", fmt.Sprintf(killConfig, files, "pcapng"), key.table)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	send := testnet.NewSender(t, "v0")
	number, kills := uint32(0), 8
	for i := range kills + 1 {
		cmd, errs := process(t, "run", "-c", file, "--log-format", "text")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // if that is not done
		begun := number
		for end := time.Now().Add(time.Duration(800+rand.IntN(700)) * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
			for range 5 {
				f := make([]byte, 1000)
				f[12], f[13] = 0x88, 0xb5
				binary.BigEndian.PutUint32(f[14:], number)
				copy(f[30:], secret)
				send.Send(f)
				number++
			}
		}
		noPlaintext(t, files)
		if i < kills {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			continue
		}
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, errs)
		}
		if number == begun {
			t.Fatal("nothing was sent")
		}
	}
	sizesAreRight(t, files)
	salvaged, next, cut := 0, uint32(0), ""
	lines := map[string]ledger.Entry{}
	for e := range ledger.Read(files, nil) {
		if e.Kind == ledger.KindFile {
			lines[e.Name] = e
		}
	}
	for _, name := range entriesOf(t, files) {
		if !strings.HasSuffix(name, ".pcapng.age") {
			t.Errorf("left behind: %s", name)
			continue
		}
		ids, err := (&identityFlag{[]string{key.path}}).read()
		if err != nil {
			t.Fatal(err)
		}
		src, err := read.Open(filepath.Join(files, name), read.Options{Identities: ids})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		n := uint64(0)
		var p pcap.Packet
		for p, err = src.Next(); err == nil; p, err = src.Next() {
			got := binary.BigEndian.Uint32(p.Data[14:])
			if n > 0 && got != next || got < next {
				t.Fatalf("%s: frame %d follows %d", name, got, int64(next)-1)
			}
			next = got + 1
			n++
		}
		switch line := lines[name]; {
		case line.Clean && (err != io.EOF || line.Packets != n):
			t.Errorf("%s: %d packets, %v; the ledger says %+v", name, n, err, line)
		case !line.Clean:
			salvaged++
			whole := err == io.EOF // killed when its end was written, and it had not its name yet
			if !whole {
				cut = name
			}
			if !whole && !strings.Contains(err.Error(), "has no end") || line.Reason != ledger.ReasonSalvaged || line.Packets > n {
				t.Errorf("%s: %d packets, %v; the ledger says %+v", name, n, err, line)
			}
		}
		src.Close()
	}
	k := filepath.Join(files, cut)
	out := filepath.Join(t.TempDir(), "whole.pcapng")
	if code, _, stderr := capd("filter", "-r", k, "--identity", key.path, "-w", out); code != exitFailed || !strings.Contains(stderr, "has no end") {
		t.Errorf("a copy of a file without an end: exit %d\n%s", code, stderr)
	}
	areWhole(t, []string{out})
	if code, _, stderr := capd("salvage", k); code != exitFailed || !strings.Contains(stderr, "it is encrypted: capd filter -r") {
		t.Errorf("salvage: exit %d\n%s", code, stderr)
	}
	if salvaged == 0 || next == 0 {
		t.Errorf("%d files were salvaged, frames up to %d are there", salvaged, next)
	}
	code, _, stderr := capd("extract", files, "--identity", key.path, "--json")
	if code != exitIncomplete {
		t.Errorf("an answer over files that were cut: exit %d\n%s", code, stderr)
	}
}

// TestEncryptUsage: what can't be encrypted is an error before anything is recorded.
func TestEncryptUsage(t *testing.T) {
	key := newTestKey(t)
	dir := t.TempDir()
	list := filepath.Join(dir, "recipients")
	if err := os.WriteFile(list, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct{ config, says string }{
		{"[encrypt]\nrecipients = ['age1nobody']", "malformed"},
		{"[encrypt]\nrecipients = ['" + key.id.String() + "']", "private key"},
		{"[encrypt]\nrecipients_file = 'list'", "absolute path"},
		{"[encrypt]\nrecipients_file = '/nowhere/list'", "no such file"},
		{"[encrypt]\nrecipients_file = '" + list + "'", "no recipient"},
		{key.table + "\n[index]\nenabled = true", "flow tables"},
		{key.table + "\n[finished]\ncompress = 'zstd'", "compress"},
		{"chunk_size = '516KiB'\n" + key.table, "64KiB"},
	} {
		file := filepath.Join(dir, "capd.toml")
		if err := os.WriteFile(file, fmt.Appendf(nil, "directory = %q\n%s\n[[interface]]\nname = 'lo'\n", dir, one.config), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"check", "run"} {
			code, stdout, stderr := capd(verb, "-c", file)
			if code == exitFine || !strings.Contains(stdout+stderr, one.says) || strings.Contains(stdout+stderr, key.id.String()) {
				t.Errorf("%s %s: exit %d\n%s%s", verb, one.config, code, stdout, stderr)
			}
		}
	}
	if code, _, stderr := capd("extract", "--host", "ssh://nowhere/", "--identity", key.path); code != exitUsage || !strings.Contains(stderr, "stays on this machine") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := capd("filter", "-r", "x", "--identity", filepath.Join(dir, "none")); code != exitFailed || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestEncryptedForSSH: a key of OpenSSH's ssh-keygen decrypts what was encrypted for it, and one with a passphrase is refused in clear words.
func TestEncryptedForSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for name, pass := range map[string]string{"id": "", "locked": "secret"} {
		tooled(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", pass, "-f", filepath.Join(dir, name))
	}
	public, err := os.ReadFile(filepath.Join(dir, "id.pub"))
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "recipients")
	if err := os.WriteFile(list, append([]byte("# of a laptop\n\n"), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	r, s, stop := extracting(t, fmt.Sprintf("[encrypt]\nrecipients_file = %q", list))
	s.Send(udpFrame(1, 53, secret))
	r.await("a frame", func(s *control.Status) bool { return s.Interfaces[0].Received > 0 })
	stop()
	noPlaintext(t, r.dir)
	code, stdout, stderr := capd("extract", r.dir, "--identity", filepath.Join(dir, "id"), "--json", "udp port 53")
	var a extractJSON
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != exitFine || a.Packets != 1 {
		t.Errorf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if code, _, stderr = capd("extract", r.dir, "--identity", filepath.Join(dir, "locked")); code != exitFailed || !strings.Contains(stderr, "passphrase") || !strings.Contains(stderr, "ssh-keygen -p") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
