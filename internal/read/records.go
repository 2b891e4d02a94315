package read

import "capd/pcap"

// Header returns the bytes that the file begins with, as pcap.Reader does. It is called before Next and NextRecord.
func (f *File) Header() ([]byte, error) {
	if err := f.begin(); err != nil {
		return nil, f.failed(err)
	}
	return f.parser.Header(), nil
}

// NextRecord returns the next record behind the header as the file has it, and the packet in it, if there is one, as
// pcap.Reader does. Errors are as those of Next.
func (f *File) NextRecord() ([]byte, *pcap.Packet, error) {
	record, p, err := f.nextRecord()
	switch {
	case err != nil:
		return nil, nil, f.failed(err)
	case p != nil:
		f.seen++
	}
	return record, p, nil
}

func (f *File) nextRecord() ([]byte, *pcap.Packet, error) {
	if f.parts != nil {
		return f.parts.next(f.parser)
	}
	return f.parser.NextRecord()
}

// Translator makes blocks for another file of what was returned by Header or NextRecord last.
func (f *File) Translator() pcap.Translator { return f.parser.Translator() }

// BigEndian reports whether the numbers of the file, or of its section read last, are big endian.
func (f *File) BigEndian() bool { return f.parser.BigEndian() }
