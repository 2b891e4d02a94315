package decode

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capd/pcap"
)

// headerSamples are those of a link type whose headers are shown. Without tunnels, whose inner packets have lines of their
// own in tcpdump.
func headerSamples(link pcap.LinkType) []sample {
	return slices.DeleteFunc(corpus(), func(s sample) bool {
		return s.link != link || len(New(link, Options{}).Decode(&s.Packet).Tunnels) > 0 || strings.HasPrefix(s.name, "odd") || linkHeaderOf(link, s.Data).text == ""
	})
}

// TestLinkHeaders: they are those of tcpdump -e. Of a type that one of the two has
// no name for, the number is compared.
func TestLinkHeaders(t *testing.T) {
	name := regexp.MustCompile(`ethertype [^(]*\(`)
	before := regexp.MustCompile(`^(\S+ +)?(In|Out|B|M) +`) // with the name of the interface, which capd has anyway
	for _, link := range []pcap.LinkType{pcap.LinkTypeEthernet, pcap.LinkTypeLinuxSLL, pcap.LinkTypeLinuxSLL2, pcap.LinkTypeNull} {
		all := headerSamples(link)
		if len(all) == 0 {
			t.Fatalf("no samples of %s", link)
		}
		d := New(link, Options{})
		for i, theirs := range linesOf(t, "tcpdump", all, "-t", "-e") {
			d.Decode(&all[i].Packet)
			ours := string(d.AppendLink(nil))
			theirs = before.ReplaceAllString(strings.TrimSpace(theirs), "$2 ")
			if strings.Contains(ours+theirs, "Unknown") {
				ours, theirs = name.ReplaceAllString(ours, "("), name.ReplaceAllString(theirs, "(")
			}
			if !strings.HasPrefix(theirs+" ", ours) {
				t.Errorf("%s: %q\ntcpdump: %q", all[i].name, ours, theirs)
			}
		}
	}
}

// TestASCII: the text of bytes is that of tcpdump -A, but for the tabs.
func TestASCII(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump: ", err)
	}
	var all []sample
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody\ttab\rx\n\x00\x7f\x1b[0m\xff", "\n\n", "x\r"} {
		for _, b := range []raw{eth(0x0800, tcp4(40000, 40001, 0x18, nil, str(text))), eth(0x8100, cat(be16(5, 0x0800), tcp4(40000, 40001, 0x18, nil, str(text))))} {
			all = append(all, sample{"text", pcap.LinkTypeEthernet, pcap.Packet{Data: b, Length: uint32(len(b))}})
		}
	}
	file := filepath.Join(t.TempDir(), "in.pcapng")
	d := New(pcap.LinkTypeEthernet, Options{})
	for i := range all {
		if err := os.WriteFile(file, pcapng(all[i:i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
		theirs, err := exec.Command("tcpdump", "-n", "-t", "-A", "-r", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		_, theirs, _ = bytes.Cut(theirs, []byte("\n"))
		d.Decode(&all[i].Packet)
		ours := string(d.AppendASCII(nil))
		if want := "\t" + strings.ReplaceAll(strings.TrimSuffix(string(theirs), "\n"), "\n", "\n\t") + "\n"; ours != want {
			t.Errorf("%q\ntcpdump: %q", ours, want)
		}
	}
}
