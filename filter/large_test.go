package filter

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// repeat joins copies of format with the numbers 1 to n.
func repeat(n int, format, sep string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(format, "N", fmt.Sprint(i+1))
	}
	return strings.Join(parts, sep)
}

// large are expressions whose programs need jumps over more than 255 instructions.
var large = []string{
	"port " + repeat(300, "N", " or "),
	"tcp and (" + repeat(150, "port N", " or ") + ")",
	repeat(200, "host 10.0.0.N", " or "),
	repeat(100, "not host 10.0.0.N", " and "),
	repeat(60, "(src host 10.0.0.N and dst port N)", " or "),
	repeat(100, "net 10.N.0.0/16", " or ") + " and tcp",
	"vlan and (" + repeat(150, "ip[N] = N", " or ") + ")",
	repeat(250, "ether host 00:00:00:00:00:N", " or "),
	repeat(40, "portrange N-N0", " or "),
}

func TestLargeAgainstTcpdump(t *testing.T) {
	r := newReference(t)
	verdicts := make([]verdict, len(large))
	inParallel(len(large), func(i int) {
		expr := large[i]
		if strings.Contains(expr, "ether host") {
			expr = hexBytes(expr)
		}
		verdicts[i] = r.compare(expr, LinkEthernet)
	})
	for i, v := range verdicts {
		if v.err != nil {
			t.Errorf("%.30q: %v", large[i], v.err)
		}
		t.Logf("%5d %5d %s %.40s", v.ours, v.ref, v.name, large[i])
	}
}

// hexBytes writes the last byte of Ethernet addresses with two digits.
func hexBytes(s string) string {
	for n := 250; n > 99; n-- {
		s = strings.ReplaceAll(s, fmt.Sprintf(":%d ", n), fmt.Sprintf(":%02x ", n))
	}
	return strings.TrimSuffix(s, ":250") + ":fa"
}

// TestBounds compiles expressions that are too long or too deep: the result must be an error or a
// program, soon, and never a panic.
func TestBounds(t *testing.T) {
	deep := strings.Repeat("(", MaxDepth) + "ip" + strings.Repeat(")", MaxDepth)
	tests := []struct {
		name, expr string
		ok         bool
	}{
		{"parentheses", deep, true},
		{"too many parentheses", "(" + deep + ")", false},
		{"open parentheses", strings.Repeat("(", MaxText), false},
		{"closed parentheses", strings.Repeat(")", MaxText), false},
		{"nots", strings.Repeat("not ", 9000) + "ip", true},
		{"too many nots", strings.Repeat("!", MaxText-2) + "ip", false},
		{"minuses", strings.Repeat("- ", 9000) + "1 = 1", true},
		{"too many minuses", strings.Repeat("-", MaxText), false},
		{"brackets", strings.Repeat("ip[", 5000) + "0" + strings.Repeat("]", 5000) + " = 0", false},
		{"open brackets", strings.Repeat("ip[", MaxText/3), false},
		{"sum", strings.Repeat("1+", 20000) + "1 = 20001", true},
		{"sum of bytes", repeat(20000, "ip[N]", "+") + " = 1", false},
		{"same ports", strings.Repeat("port 80 or ", 300) + "port 80", true},
		{"more of the same ports", strings.Repeat("port 80 or ", 1900) + "port 80", false},
		{"ports", repeat(900, "port N", " or "), true},
		{"many ports", repeat(1900, "port N", " or "), false},
		{"many ranges", repeat(1000, "portrange N-N9", " or "), false},
		{"too many ports", repeat(60000, "port N", " or "), false},
		{"too many hosts", repeat(40000, "not host 10.1.N", " and "), false},
		{"ands", repeat(5000, "ip[N] = N", " and "), true}, /* no byte is 256 */
		{"vlans", strings.Repeat("vlan and ", 2000) + "ip", false},
		{"geneves", strings.Repeat("geneve and ", 10) + "ip", false},
		{"mpls", strings.Repeat("mpls and ", 500) + "ip", true},
		{"spaces", strings.Repeat(" ", MaxText), true},
		{"a long word", strings.Repeat("a", MaxText), false},
		{"a long number", strings.Repeat("1", MaxText), false},
		{"colons", strings.Repeat("a:", MaxText/2), false},
		{"dots", strings.Repeat("1.", MaxText/2), false},
		{"backslash", "proto \\" + strings.Repeat("a", MaxText-10), false},
		{"too much text", strings.Repeat(" ", MaxText+1), false},
		{"ands of ranges", repeat(2000, "portrange N-N9", " or "), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && strings.HasSuffix(tt.name, "ports") {
				t.Skip("takes several seconds with the race detector")
			}
			for _, live := range []bool{false, true} {
				if live && tt.name == "ports" {
					continue // same as for a file
				}
				target := Target{LinkType: LinkEthernet, Live: live}
				start := time.Now()
				p, err := Compile(tt.expr, target)
				var se *SyntaxError
				if err != nil && (!errors.As(err, &se) || len(se.Error()) > 300) {
					t.Fatalf("got error %.500v", err)
				}
				if (err == nil) != tt.ok {
					t.Errorf("got error %v", err)
				}
				// It takes less than a second on an idle machine.
				if d := time.Since(start); d > time.Minute {
					t.Errorf("took %v", d)
				} else if d > 100*time.Millisecond {
					t.Logf("took %v", d)
				}
				if err == nil {
					t.Logf("%d instructions", len(p.Instructions))
				}
			}
		})
	}
}
