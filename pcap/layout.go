package pcap

// Magic numbers of pcap files, as read in the file's byte order
// (draft-ietf-opsawg-pcap, section 4).
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 11.1), and the
// number that tells a section's byte order.
const (
	blockSHB = 0x0a0d0d0a // section header; the same in both byte orders
	blockIDB = 1          // interface description
	blockOPB = 2          // packet, obsolete
	blockSPB = 3          // simple packet
	blockISB = 5          // interface statistics
	blockEPB = 6          // enhanced packet

	byteOrderMagic = 0x1a2b3c4d
)
