package nflog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/capture/device"
	"capd/internal/testnet"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(testnet.MainAsRoot(m)) }

// rules makes changes to the packet filter, which all take effect or none (linux/netfilter/nf_tables.h).
type rules []byte

const (
	subsystem = 10 // NFNL_SUBSYS_NFTABLES

	newTable, deleteTable, newChain, newRule = subsystem << 8, subsystem<<8 | 2, subsystem<<8 | 3, subsystem<<8 | 6

	batchBegin, batchEnd = 0x10, 0x11 // NFNL_MSG_BATCH_
)

func (r *rules) add(kind, flags uint16, attributes ...[]byte) {
	family, resource := byte(unix.AF_INET), uint16(0)
	if kind == batchBegin || kind == batchEnd {
		family, resource = 0, subsystem
	}
	b := make([]byte, headerLen)
	host.PutUint16(b[4:], kind)
	host.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	b = binary.BigEndian.AppendUint16(append(b, family, 0), resource)
	b = append(b, bytes.Join(attributes, nil)...)
	host.PutUint32(b, uint32(len(b)))
	*r = append(*r, b...)
}

func (r *rules) commit() error {
	r.add(batchEnd, 0)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Send(fd, *r, 0); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	if n, _, err := unix.Recvfrom(fd, answer, 0); err == nil && n >= headerLen+4 {
		return unix.Errno(-int32(host.Uint32(answer[headerLen:])))
	}
	return nil
}

// logTo adds rules that log all packets that leave to the groups.
func logTo(t *testing.T, groups ...uint16) {
	t.Helper()
	be := binary.BigEndian
	nested := func(kind uint16, b []byte) []byte { return appendAttribute(nil, kind|unix.NLA_F_NESTED, b) }
	text := func(kind uint16, s string) []byte { return appendAttribute(nil, kind, append([]byte(s), 0)) }
	number := func(kind uint16, n uint32) []byte { return appendAttribute(nil, kind, be.AppendUint32(nil, n)) }
	var r rules
	r.add(batchBegin, 0)
	r.add(newTable, unix.NLM_F_CREATE, text(1, "t"))
	r.add(newChain, unix.NLM_F_CREATE, text(1, "t"), text(3, "c"), nested(4, append(number(1, hookOutput), number(2, 0)...)), text(7, "filter"))
	for _, g := range groups {
		log := append(text(1, "log"), nested(2, appendAttribute(nil, 1, be.AppendUint16(nil, g)))...)
		r.add(newRule, unix.NLM_F_CREATE|unix.NLM_F_APPEND, text(1, "t"), text(2, "c"), nested(4, nested(1, log)))
	}
	if err := r.commit(); err != nil {
		t.Skip("no rules: ", err)
	}
	t.Cleanup(func() {
		var r rules
		r.add(batchBegin, 0)
		r.add(deleteTable, 0, text(1, "t"))
		if err := r.commit(); err != nil {
			t.Error(err)
		}
	})
}

func config(name string) device.Config {
	return device.Config{Interface: name, RingSize: 4 << 20, BlockTimeout: 20}
}

func openGroup(t *testing.T, name string) (*device.Device, *device.Handle) {
	t.Helper()
	d, err := device.Open(config(name), Open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

// sendNumbered sends so many datagrams over loopback, from the number first on.
func sendNumbered(t *testing.T, first, count int) {
	t.Helper()
	l, err := net.ListenPacket("udp4", "127.0.0.1:0") // so that nothing says that nobody listens
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("udp4", l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range count {
		if _, err := c.Write(binary.BigEndian.AppendUint32(bytes.Repeat([]byte{'x'}, 60), uint32(first+i))); err != nil {
			t.Fatal(err)
		}
	}
}

// collect reads packets until there are so many, or until Next fails.
func collect(t *testing.T, h *device.Handle, n int) (all [][]byte, err error) {
	t.Helper()
	var pkts [16]pcap.Packet
	for deadline := time.Now().Add(10 * time.Second); n < 0 || len(all) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets of %d", len(all), n)
		}
		b, err := h.Next(time.Second)
		if err != nil {
			return all, err
		}
		if b == nil {
			continue
		}
		for k := b.Read(pkts[:]); k > 0; k = b.Read(pkts[:]) {
			for _, p := range pkts[:k] {
				if p.Flags == pcap.FlagOutbound && p.HasTime() {
					all = append(all, bytes.Clone(p.Data))
				}
			}
		}
		b.Release()
	}
	return all, nil
}

// TestGroup: what a rule logs is captured, once and in order, and as libpcap has it.
func TestGroup(t *testing.T) {
	testnet.SetUp(t, "lo", true)
	logTo(t, 5, 6)
	_, h := openGroup(t, "nflog:5")
	path := filepath.Join(t.TempDir(), "td.pcap")
	dump := exec.Command("tcpdump", "-i", "nflog:6", "-U", "-Z", "root", "-w", path)
	messages, err := dump.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	listening := false
	if dump.Start() == nil {
		for lines := bufio.NewScanner(messages); !listening && lines.Scan(); {
			listening = strings.Contains(lines.Text(), "listening")
		}
	}
	const count = 500
	sendNumbered(t, 0, count)
	all, err := collect(t, h, count)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range all {
		if n := binary.BigEndian.Uint32(payload(b)[28+60:]); int(n) != i {
			t.Fatalf("packet %d is number %d", i, n)
		}
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	sendNumbered(t, count, 1)
	if rest, err := collect(t, h, -1); len(rest) > 0 || !errors.Is(err, device.ErrClosed) {
		t.Errorf("after Stop: %d packets, %v", len(rest), err)
	}
	if s, err := h.Stats(); err != nil || s.Received != count || s.Dropped != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if !listening {
		return
	}
	_ = dump.Process.Signal(os.Interrupt)
	_ = dump.Wait()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil || r.Interface().LinkType != device.LinkTypeNFLOG {
		t.Fatalf("%v, %v", r.Interface().LinkType, err)
	}
	p, err := r.Next()
	if err != nil || !bytes.Equal(payload(p.Data), payload(all[0])) || p.Data[0] != all[0][0] {
		t.Errorf("tcpdump has\n%x, %v; capd\n%x", p.Data, err, all[0])
	}
}

// payload returns the packet in a message.
func payload(b []byte) []byte {
	for b = b[generalLen:]; len(b) >= attributeLen; {
		size := int(host.Uint16(b))
		if host.Uint16(b[2:]) == 9 { // NFULA_PAYLOAD
			return b[attributeLen:size]
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// TestGroupIsTaken: two can't have a group, and one that is closed leaves it.
func TestGroupIsTaken(t *testing.T) {
	d, _ := openGroup(t, "nflog:7")
	if _, err := device.Open(config("nflog:7"), Open); err == nil || !strings.Contains(err.Error(), "another program has it") {
		t.Errorf("a second one: %v", err)
	}
	gated := config("nflog:7")
	gated.Gated = true
	second, err := device.Open(gated, Open)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Admit(); err == nil {
		t.Error("a second one is admitted")
	}
	d.Close()
	if err := second.Admit(); err != nil {
		t.Errorf("after the first: %v", err)
	}
	for _, name := range []string{"nflog:", "nflog:65536", "nflog:05", "nflog:x", "nflog:7:"} {
		if _, err := device.Open(config(name), Open); !errors.Is(err, device.ErrNoInterface) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGroupLoses: packets that the socket had no room for are counted.
func TestGroupLoses(t *testing.T) {
	testnet.SetUp(t, "lo", true)
	logTo(t, 5)
	c := config("nflog:5")
	c.BlockSize, c.RingSize = 4096, 8192
	d, err := device.Open(c, Open)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h, err := d.Attach()
	if err != nil {
		t.Fatal(err)
	}
	const count = 3000
	sendNumbered(t, 0, count)
	var seen int
	for s, _ := h.Stats(); s.Received < count; s, _ = h.Stats() { // a packet that comes shows those that did not
		all, err := collect(t, h, 1)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(all)
		if seen > 0 {
			sendNumbered(t, 0, 1)
		}
	}
	if s, _ := h.Stats(); s.Dropped == 0 || s.Received-s.Dropped < uint64(seen) {
		t.Errorf("%+v, %d packets", s, seen)
	}
}
