package afpacket

import "testing"

var testKinds = kinds{socket: 1, timestamp: 35, packet: 263, aux: 8}

func putWord(b []byte, v uint64) []byte {
	if wordLen == 4 {
		return host.AppendUint32(b, uint32(v))
	}
	return host.AppendUint64(b, v)
}

// message returns a control message, padded as CMSG_ALIGN does.
func message(level, kind int32, data []byte) []byte {
	b := putWord(nil, uint64(cmsgHeader+len(data)))
	b = host.AppendUint32(b, uint32(level))
	b = host.AppendUint32(b, uint32(kind))
	b = append(b, data...)
	for len(b)%wordLen != 0 {
		b = append(b, 0)
	}
	return b
}

func auxMessage(status, length uint32, tci, tpid uint16) []byte {
	data := make([]byte, auxLen)
	host.PutUint32(data[auxStatus:], status)
	host.PutUint32(data[auxLength:], length)
	host.PutUint16(data[auxTCI:], tci)
	host.PutUint16(data[auxTPID:], tpid)
	return message(263, 8, data)
}

func timeMessage(sec, nsec uint64) []byte {
	return message(1, 35, putWord(putWord(nil, sec), nsec))
}

func TestParseControl(t *testing.T) {
	want := auxData{
		tag: tag{statusVLANValid, 0x2064, 0x88a8}, length: 1514,
		timed: true, sec: 1_700_000_000, nsec: 999_999_999,
	}
	aux, when := auxMessage(statusVLANValid, 1514, 0x2064, 0x88a8), timeMessage(1_700_000_000, 999_999_999)
	other := message(1, 2, []byte{1, 2, 3})
	for name, b := range map[string][]byte{
		"in order":     append(append([]byte(nil), aux...), when...),
		"with another": append(append(append([]byte(nil), when...), other...), aux...),
	} {
		if a := parseControl(b, testKinds); a != want {
			t.Errorf("%s: %+v, want %+v", name, a, want)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":      nil,
		"short header": aux[:cmsgHeader-1],
		"cut":          aux[:len(aux)-8],
		"endless":      make([]byte, 64),
		"short data":   message(263, 8, make([]byte, auxLen-1)),
		"bad time":     timeMessage(1, 1e9),
	} {
		if a := parseControl(b, testKinds); a != (auxData{}) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func FuzzAuxData(f *testing.F) {
	f.Add(append(auxMessage(statusVLANValid, 60, 1, 2), timeMessage(1, 2)...))
	f.Add(message(1, 2, []byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a := parseControl(b, testKinds); a.nsec >= 1e9 || !a.timed && a.sec != 0 {
			t.Fatalf("%+v", a)
		}
	})
}
