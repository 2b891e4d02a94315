package filter

// An expr is a node of the syntax tree of a condition.
type expr interface{ offset() int }

type (
	// A binaryExpr is true if both sides are, or if either is.
	binaryExpr struct {
		and         bool
		left, right expr
	}

	// A notExpr is true if x is not.
	notExpr struct{ x expr }

	// A protoExpr is true for packets of a protocol, as in "tcp".
	protoExpr struct {
		pos
		proto proto
	}

	// An idExpr is an address, a number or a name, with its qualifiers. They are its own or those
	// of the id before it.
	idExpr struct {
		pos
		qual qual
		id   token
		mask *token // of "net 10.0.0.0 mask 255.0.0.0"
		bits *token // of "net 10.0.0.0/8"
	}

	// A castExpr is "broadcast" or "multicast".
	castExpr struct {
		pos
		proto proto
		multi bool
	}

	// A wordExpr is a keyword that may be followed by a number, as in "vlan 100".
	wordExpr struct {
		pos
		word string
		num  *uint32
	}

	// An llcExpr is "llc" with a type of PDU, or with "".
	llcExpr struct {
		pos
		pdu string
	}

	// A relExpr compares two numbers. op is one of = > >=; if not is set, the comparison is
	// negated.
	relExpr struct {
		pos
		op          string
		not         bool
		left, right arith
	}
)

// A pos is the offset of a node in the text.
type pos int

func (p pos) offset() int        { return int(p) }
func (e binaryExpr) offset() int { return e.right.offset() }
func (e notExpr) offset() int    { return e.x.offset() }

// An arith is a node of the syntax tree of a number.
type arith interface{ offset() int }

type (
	numArith struct {
		pos
		num uint32
	}

	// A lenArith is the length of the packet on the wire.
	lenArith struct{ pos }

	// A loadArith is 1, 2 or 4 bytes of the packet, big-endian.
	loadArith struct {
		pos
		proto proto
		index arith
		size  uint32
	}

	negArith struct {
		pos
		x arith
	}

	// A binArith is one of + - * / % & | ^ << >> applied to two numbers.
	binArith struct {
		pos
		op          string
		left, right arith
	}
)

// A direction selects one of two addresses.
type direction uint8

const (
	dirAny direction = iota // not written; means src or dst
	dirSrc
	dirDst
	dirOr
	dirAnd
)

// An addrKind is what an id denotes.
type addrKind uint8

const (
	addrAny addrKind = iota // not written; means host
	addrHost
	addrNet
	addrPort
	addrPortRange
	addrProto
	addrProtoChain
	addrGateway
)

var addrWords = [...]string{
	addrAny: "host", addrHost: "host", addrNet: "net", addrPort: "port",
	addrPortRange: "portrange", addrProto: "proto",
	addrProtoChain: "protochain", addrGateway: "gateway",
}

func (a addrKind) String() string { return addrWords[a] }

// A qual is the qualifiers before an id. The zero qual stands for no qualifiers; an id without any
// is an error.
type qual struct {
	known bool
	proto proto
	dir   direction
	addr  addrKind
}
