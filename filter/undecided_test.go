package filter

import "testing"

// TestUndecided: a packet that is refused for want of bytes that were not captured is told from one that does not have them.
func TestUndecided(t *testing.T) {
	p, err := Compile("tcp port 443", Target{LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 60)
	frame[12], frame[14], frame[14+9] = 8, 0x45, 6
	frame[14+20+2], frame[14+20+3] = 1, 0xbb // port 443
	udp := append([]byte{}, frame...)
	udp[14+9] = 17
	for _, c := range []struct {
		data   []byte
		length int
		passes bool
		want   bool
	}{
		{frame, 60, true, false},
		{frame[:34], 60, false, true},  // its ports are not captured
		{frame[:34], 34, false, false}, // it has none
		{frame[:13], 60, false, true},
		{udp[:34], 60, false, false}, // another protocol
		{[]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x06"), 60, false, false}, // no IP
	} {
		if passes := p.Match(c.data, c.length, nil) > 0; passes != c.passes {
			t.Errorf("%x: passes %v", c.data, passes)
		}
		if got := p.Undecided(c.data, c.length); got != c.want {
			t.Errorf("%d of %d bytes: %v", len(c.data), c.length, got)
		}
	}
}
