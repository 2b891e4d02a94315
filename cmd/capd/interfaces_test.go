package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"capd/capture"
	"capd/internal/setup"
	"capd/pcap"
)

// TestInterfacesClosed: those that can't be opened are listed all the same, and
// named once for each cause.
func TestInterfacesClosed(t *testing.T) {
	answers := map[string]error{"en0": nil, "en1": capture.ErrPermission, "utun0": capture.ErrPermission, "gif0": errors.New("no such thing")}
	var all []setup.Interface
	for _, name := range []string{"en0", "en1", "utun0", "gif0"} {
		i := setup.Interface{Name: name, State: "up", LinkType: "NULL"}
		i.Probe(func(name string) ([]pcap.LinkType, error) {
			if err := answers[name]; err != nil {
				return nil, fmt.Errorf("/dev/bpf0: %w", err)
			}
			return []pcap.LinkType{pcap.LinkTypeEthernet, pcap.LinkTypeRadiotap}, nil
		})
		all = append(all, i)
	}
	var b bytes.Buffer
	if err := printInterfaces(&b, all); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"en0    up     ETHERNET,IEEE802_11_RADIOTAP  -", "en1    up     NULL  ",
		"\nen1, utun0 can't be opened: /dev/bpf0: operation not permitted\n      hint: ",
		"\ngif0 can't be opened: /dev/bpf0: no such thing\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("no %q, or twice, in\n%s", want, text)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"en0","index":0,"state":"up","link_type":"ETHERNET","link_types":["ETHERNET","IEEE802_11_RADIOTAP"]`,
		`"link_type":"NULL","error":"/dev/bpf0: operation not permitted"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}
