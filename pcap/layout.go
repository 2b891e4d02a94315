package pcap

// Magic numbers of pcap files, as read in the file's byte order
// (draft-ietf-opsawg-pcap, section 4).
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Alexey Kuznetsov's: microseconds, and 8 bytes more in a record's header
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 11.1), and the
// number that tells a section's byte order.
const (
	blockSHB = 0x0a0d0d0a // section header; the same in both byte orders
	blockIDB = 1          // interface description
	blockOPB = 2          // packet, obsolete
	blockSPB = 3          // simple packet
	blockNRB = 4          // name resolution
	blockISB = 5          // interface statistics
	blockEPB = 6          // enhanced packet
	blockDSB = 10         // decryption secrets

	byteOrderMagic = 0x1a2b3c4d
)

// Bounds on what a file may claim, so that a damaged one costs little memory.
const (
	maxBlock      = 16 << 20 // bytes of one record or block, as in Wireshark before 4.0
	maxInterfaces = 1 << 18  // in a section
	maxText       = 4096     // bytes kept of one text
	maxTexts      = 16 << 20 // bytes kept of all texts of a section
	maxEmpty      = 16       // records of zeros in a row that are packets; more are space that was not written
)

// An Interface is what a file says about where packets come from. PCAP knows
// the link type and the snaplen only.
type Interface struct {
	LinkType    LinkType
	Snaplen     uint32 // 0 is unlimited
	Name        string // texts are cut at 4096 bytes
	Description string
	Filter      string // pcap-filter expression
	MAC         []byte // 6 bytes, or none
	Speed       uint64 // bit/s; 0 is unknown
	Comment     string // of an interface that is written; not read

	units  uint64 // of time in a second; 0: more than 64 bits can say, so that no time is known
	offset int64  // seconds to add to every time
}

// limit returns the longest capture length that packets of the interface may
// claim.
func (i *Interface) limit() uint32 { return min(max(i.Snaplen, MaxSnaplen), maxBlock) }
