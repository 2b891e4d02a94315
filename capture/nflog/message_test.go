package nflog

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"capd/pcap"
)

// logged returns a message of a packet as the kernel makes it.
func logged(hook byte, number uint32, payload string) []byte {
	be := binary.BigEndian
	b := make([]byte, headerLen)
	host.PutUint16(b[4:], typePacket)
	b = append(b, 2, 0, 0, 5)
	b = appendAttribute(b, attrHeader, []byte{8, 0, hook, 0})
	b = appendAttribute(b, attrTimestamp, be.AppendUint64(be.AppendUint64(nil, 1_700_000_000), 123_456))
	b = appendAttribute(b, 9, []byte(payload)) // NFULA_PAYLOAD
	b = appendAttribute(b, attrSequence, be.AppendUint32(nil, number))
	host.PutUint32(b, uint32(len(b)))
	return b
}

func TestParse(t *testing.T) {
	datagram := append(logged(1, 7, "abcde"), logged(3, 8, "fgh")...)
	done := make([]byte, headerLen+4)
	host.PutUint32(done, uint32(len(done)))
	host.PutUint16(done[4:], 3) // NLMSG_DONE, which ends what comes together
	datagram = append(datagram, done...)
	var all []message
	for rest := datagram; len(rest) > 0; {
		var kind uint16
		var body []byte
		if kind, body, rest = next(rest); kind != typePacket {
			continue
		}
		m, ok := parse(body, 40)
		if !ok {
			t.Fatal("no packet")
		}
		all = append(all, m)
	}
	if len(all) != 2 {
		t.Fatalf("%d packets", len(all))
	}
	for i, want := range []struct {
		flags  pcap.Flags
		number uint32
	}{{pcap.FlagInbound, 7}, {pcap.FlagOutbound, 8}} {
		m := all[i]
		if m.Flags != want.flags || !m.numbered || m.number != want.number || len(m.Data) != 40 || m.Length < 45 || !m.Time().Equal(time.Unix(1_700_000_000, 123_456_000)) {
			t.Errorf("packet %d: %+v", i, m)
		}
		if !bytes.Equal(m.Data[:4], []byte{2, 0, 0, 5}) {
			t.Errorf("packet %d begins with %x", i, m.Data[:4])
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(append(logged(1, 7, "abcde"), logged(3, 8, "fgh")...))
	f.Add(logged(1, 7, "")[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			var body []byte
			before := len(rest)
			if _, body, rest = next(rest); len(rest) >= before {
				t.Fatal("it does not go on")
			}
			if m, ok := parse(body, 100); ok && (len(m.Data) > 100 || int(m.Length) < len(m.Data) || m.Nsec >= 1e9) {
				t.Fatalf("%+v", m)
			}
		}
	})
}
