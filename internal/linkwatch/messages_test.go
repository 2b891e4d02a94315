package linkwatch

import (
	"encoding/binary"
	"testing"
)

// message returns a message of that length and type.
func message(length uint32, kind uint16) []byte {
	b := binary.NativeEndian.AppendUint32(nil, length)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, make([]byte, max(int(length), netlinkHeader)-6)...)
}

func TestMessages(t *testing.T) {
	const newAddress = 20
	join := func(all ...[]byte) (b []byte) {
		for _, one := range all {
			b = append(b, one...)
		}
		return b
	}
	for name, c := range map[string]struct {
		buf  []byte
		want bool
	}{
		"nothing":             {nil, false},
		"appears":             {message(32, rtmNewLink), true},
		"goes":                {message(32, rtmDelLink), true},
		"something else":      {message(32, newAddress), false},
		"behind another":      {join(message(20, newAddress), message(32, rtmNewLink)), true},
		"behind an odd one":   {join(message(21, newAddress), make([]byte, 3), message(16, rtmDelLink)), true},
		"cut":                 {message(32, newAddress)[:8], true},
		"longer than it is":   {message(32, newAddress)[:20], false},
		"of no length":        {message(0, newAddress), true},
		"rest that is no one": {append(message(16, newAddress), 1), true},
	} {
		if got := netlinkConcerns(c.buf); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(message(32, rtmNewLink))
	f.Add(append([]byte{255, 255, 255, 255}, make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, b []byte) { netlinkConcerns(b) })
}
