package decode

import (
	"testing"

	"capd/pcap"
)

func TestLine(t *testing.T) {
	b := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02")
	d := New(pcap.LinkTypeEthernet, Options{})
	f := d.Decode(&pcap.Packet{Data: b, Length: uint32(len(b))})
	got := string(f.AppendLine(nil))
	want := "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, arp who-has 10.0.0.2 tell 10.0.0.1, length 28"
	if got != want {
		t.Errorf("%q", got)
	}
	t.Logf("%s", f.AppendLayers(nil))
}
