package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/pcap"
)

// readers says which common programs can't read the files, by docs/readers.md.
func readers(c *Checker, cfg *config.Config) {
	formats := make(map[string]bool)
	for i := range cfg.Interfaces {
		formats[cfg.Interfaces[i].Format] = true
	}
	for _, format := range slices.Sorted(maps.Keys(formats)) {
		const micro = "aircrack-ng, bittwist, chaosreader, hcxpcapngtool and ipgrab"
		switch format {
		case config.FormatPcapng:
			c.add(OK, "format", "", "pcapng is not read by ettercap, libtrace, netsniff-ng, tcpslice, %s: docs/readers.md", micro)
		case config.FormatPcap:
			c.add(OK, "format", "", `pcap with nanoseconds is not read by %s, which read format "pcap-us": docs/readers.md`, micro)
		}
	}
	if kind := cfg.Finished.Compress; kind != config.CompressNone {
		c.add(OK, "format", "", "compressed with %s files are read by Wireshark's tools, capd and few others: docs/readers.md", kind)
	}
}

// linkReaders says which programs can't read packets of the link type.
func linkReaders(name string, link pcap.LinkType, there []capture.Interface) []Finding {
	const choose = `link_type = "LINUX_SLL" is read by them`
	switch link {
	case pcap.LinkTypeLinuxSLL2:
		return []Finding{{Warn, name, "link type LINUX_SLL2 is not read by argus, darkstat, dnscap, dnstop, dsniff, ettercap, httpry, ndpiReader, netsniff-ng, " +
			"nfpcapd, ngrep, pmacctd, softflowd, ssldump, suricata, tcpflow, tcpick, tcpreplay and tcptrace", choose}}
	case pcap.LinkTypeMixed:
		types := make(map[string]string) // by link type, an interface
		for _, i := range there {
			if own := i.LinkType.String(); i.Up && types[own] == "" {
				types[own] = i.Name
			}
		}
		if len(types) < 2 {
			return nil
		}
		var list []string
		for _, own := range slices.Sorted(maps.Keys(types)) {
			list = append(list, fmt.Sprintf("%s (%s)", own, types[own]))
		}
		return []Finding{{Warn, name, "files with packets of several link types are read by Wireshark's tools and capd, and refused by tcpdump and all that use libpcap; " +
			"interfaces that are up have " + strings.Join(list, ", "), choose + ", and LINUX_SLL2 by tcpdump and a few"}}
	}
	return nil
}

// chosen returns the link type that the interface is recorded with.
func chosen(link capture.Interface, i *config.Interface) pcap.LinkType {
	wanted := setup.For(link.Name, i)
	own, _ := wanted.LinkType(link.LinkType) // an error was reported where the interface was opened
	return own
}
