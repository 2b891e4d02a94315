package filter_test

import (
	"errors"
	"fmt"
	"strings"

	"capd/filter"
)

func ExampleCompile() {
	prog, err := filter.Compile("tcp port 80", filter.Target{LinkType: filter.LinkRaw, Snaplen: 128})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(prog.Instructions), "instructions")
	// Output: 21 instructions
}

func ExampleSyntaxError() {
	_, err := filter.Compile("host 10.0.0.1 and tpc", filter.Target{LinkType: filter.LinkEthernet})
	var se *filter.SyntaxError
	if errors.As(err, &se) {
		fmt.Println("at", se.Offset)
		fmt.Println(se.Msg)
		fmt.Println("hint:", se.Hint)
	}
	// Output:
	// at 18
	// host names such as "tpc" are not looked up
	// hint: did you mean "tcp"? For a host, write its address
}

func ExampleProgram_Match() {
	prog, err := filter.Compile("icmp", filter.Target{LinkType: filter.LinkRaw})
	if err != nil {
		fmt.Println(err)
		return
	}
	packet := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0}
	fmt.Println(prog.Match(packet, len(packet), nil))
	packet[9] = 17 // UDP
	fmt.Println(prog.Match(packet, len(packet), nil))
	// Output:
	// 262144
	// 0
}

func ExampleProgram_String() {
	prog, err := filter.Compile("arp", filter.Target{LinkType: filter.LinkEthernet})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(prog)
	// Output:
	// (000) ldh      [12]
	// (001) jeq      #0x806           jt 2	jf 3
	// (002) ret      #262144
	// (003) ret      #0
}

// iptables -m bpf --bytecode accepts this format with commas instead of line ends. It passes
// packets from the network header on.
func ExampleProgram_Decimal() {
	prog, err := filter.Compile("ip6", filter.Target{LinkType: filter.LinkRaw})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.ReplaceAll(strings.TrimSpace(prog.Decimal()), "\n", ","))
	// Output: 5,48 0 0 0,84 0 0 240,21 0 1 96,6 0 0 262144,6 0 0 0
}

func ExampleProgram_NeverMatches() {
	for _, expr := range []string{"ip and arp", "ip or not ip", "tcp port 80"} {
		prog, err := filter.Compile(expr, filter.Target{LinkType: filter.LinkEthernet})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(expr, prog.NeverMatches(), prog.AlwaysMatches())
	}
	// Output:
	// ip and arp true false
	// ip or not ip false true
	// tcp port 80 false false
}
