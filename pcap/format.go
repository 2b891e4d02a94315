package pcap

import "fmt"

// A Format is a capture file format. The zero value is PCAP.
type Format uint8

// Formats.
const (
	PCAP   Format = iota // classic pcap with nanoseconds, little endian
	PCAPNG               // pcapng, little endian
)

// String returns the format's name, as ParseFormat reads it.
func (f Format) String() string {
	switch f {
	case PCAP:
		return "pcap"
	case PCAPNG:
		return "pcapng"
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Ext returns the extension of the format's file names, with its dot.
func (f Format) Ext() string { return "." + f.String() }

// ParseFormat returns the format called "pcap" or "pcapng".
func ParseFormat(s string) (Format, error) {
	for _, f := range []Format{PCAP, PCAPNG} {
		if s == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("format %q is neither pcap nor pcapng", s)
}

// MarshalText returns the format's name.
func (f Format) MarshalText() ([]byte, error) {
	if f > PCAPNG {
		return nil, fmt.Errorf("no such format: %v", f)
	}
	return []byte(f.String()), nil
}

// UnmarshalText sets f to the format that text names.
func (f *Format) UnmarshalText(text []byte) error {
	parsed, err := ParseFormat(string(text))
	if err == nil {
		*f = parsed
	}
	return err
}
