package alert

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// said spells what tests compare of an alert.
func said(a *Alert) string {
	s := fmt.Sprintf("%s %s %s id=%s flow=%s", a.Format, a.Event, a.Time.Format(time.RFC3339Nano), a.ID, a.Flow())
	if a.Ends.HasICMP {
		s += fmt.Sprintf(" %d/%d", a.Ends.ICMPType, a.Ends.ICMPCode)
	}
	if !a.Start.IsZero() {
		s += " from " + a.Start.Format(time.RFC3339Nano)
	}
	if !a.End.IsZero() {
		s += " to " + a.End.Format(time.RFC3339Nano)
	}
	if !a.Outer.IsZero() {
		s += " in " + a.Outer.String()
	}
	if a.VLANs != nil {
		s += fmt.Sprint(" vlan ", a.VLANs)
	}
	if a.CommunityID != "" && !a.Ends.IsZero() {
		s += " " + a.CommunityID
	}
	return s
}

// read returns what is said about each line that has an alert or an error.
func read(t *testing.T, text string) (all []string) {
	t.Helper()
	if err := Read(strings.NewReader(text), "log", func(a *Alert, err error) error {
		if err != nil {
			if !errors.As(err, new(*LineError)) {
				t.Errorf("%T", err)
			}
			all = append(all, err.Error())
		} else {
			all = append(all, said(a))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEVE has lines as Suricata 7.0.10 writes them.
func TestEVE(t *testing.T) {
	for line, want := range map[string]string{
		`{"timestamp":"2023-11-14T22:13:25.000001+0000","flow_id":123456789012345678,"event_type":"alert","src_ip":"192.0.2.1","src_port":40000,"dest_ip":"198.51.100.7","dest_port":443,"proto":"TCP","alert":{"action":"allowed","gid":1,"signature_id":2100498,"rev":7,"signature":"GPL ATTACK","category":"","severity":2},"flow":{"pkts_toserver":3,"start":"2023-11-14T22:13:20.000000+0000","src_ip":"192.0.2.1","dest_ip":"198.51.100.7","src_port":40000,"dest_port":443}}`: `eve alert 2023-11-14T22:13:25.000001Z id=2100498 flow=192.0.2.1:40000 198.51.100.7:443 tcp from 2023-11-14T22:13:20Z`,

		`{"timestamp":"2023-11-15T00:13:25.000000+0200","event_type":"alert","vlan":[20,10],"src_ip":"2001:0db8:0000:0000:0000:0000:0000:0001","src_port":1,"dest_ip":"2001:0db8:0000:0000:0000:0000:0000:0002","dest_port":2,"proto":"UDP","community_id":"1:d/FP5EW3wiY1vCndhwleRRKHowQ=","alert":{"signature_id":1}}`: `eve alert 2023-11-14T22:13:25Z id=1 flow=[2001:db8::1]:1 [2001:db8::2]:2 udp vlan [20 10] 1:d/FP5EW3wiY1vCndhwleRRKHowQ=`,

		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"198.51.100.7","proto":"ICMP","icmp_type":8,"icmp_code":0,"alert":{"signature_id":2}}`:                                                                                                               `eve alert 2023-11-14T22:13:25Z id=2 flow=192.0.2.1 198.51.100.7 icmp 8/0`,
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert","src_ip":"2001:db8::1","dest_ip":"2001:db8::2","proto":"IPv6-ICMP","icmp_type":128,"icmp_code":0,"alert":{"signature_id":2}}`:                                                                                                       `eve alert 2023-11-14T22:13:25Z id=2 flow=2001:db8::1 2001:db8::2 icmp6 128/0`,
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert","src_ip":"192.0.2.1","src_port":5,"dest_ip":"198.51.100.7","dest_port":6,"proto":"UDP","tunnel":{"src_ip":"203.0.113.1","src_port":7,"dest_ip":"203.0.113.2","dest_port":4789,"proto":"UDP","depth":1},"alert":{"signature_id":3}}`: `eve alert 2023-11-14T22:13:25Z id=3 flow=192.0.2.1:5 198.51.100.7:6 udp in 203.0.113.1:7 203.0.113.2:4789 udp`,
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"flow","src_ip":"192.0.2.1","src_port":5,"dest_ip":"198.51.100.7","dest_port":6,"proto":"SCTP","vlan":7,"flow":{"start":"2023-11-14T22:13:20.000000+0000","end":"2023-11-14T22:14:20.000000+0000"}}`:                                        `eve flow 2023-11-14T22:13:25Z id= flow=192.0.2.1:5 198.51.100.7:6 sctp from 2023-11-14T22:13:20Z to 2023-11-14T22:14:20Z vlan [7]`,
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"anomaly","community_id":"1:d/FP5EW3wiY1vCndhwleRRKHowQ=","anomaly":{"type":"stream","event":"stream.pkt_invalid_ack"}}`:                                                                                                                               `eve anomaly 2023-11-14T22:13:25Z id=stream.pkt_invalid_ack flow=1:d/FP5EW3wiY1vCndhwleRRKHowQ=`,
		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert","src_ip":"192.0.2.1","src_port":0,"dest_ip":"198.51.100.7","dest_port":0,"proto":"GRE","alert":{"signature_id":3}}`:                                                                                                                 `eve alert 2023-11-14T22:13:25Z id=3 flow=192.0.2.1 198.51.100.7 gre`,

		`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"stats","stats":{"uptime":8}}`:                              "log:1: it names no flow: neither two addresses nor a Community ID",
		`{"timestamp":"2023-11-14 22:13","event_type":"alert"}`:                                                                  `log:1: timestamp: "2023-11-14 22:13" is no time`,
		`{"timestamp":"0001-01-01T00:00:00Z","event_type":"alert"}`:                                                              "log:1: timestamp: 1 is no year of a packet",
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"192.0.2","dest_ip":"192.0.2.1"}`:                     `log:1: "192.0.2" is no address`,
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"fe80::1%eth0","dest_ip":"fe80::2"}`:                  `log:1: "fe80::1%eth0" is no address`,
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"2001:db8::2"}`:                 "log:1: one address is of IPv4 and the other of IPv6",
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"192.0.2.2","dest_port":65536}`: `log:1: "dest_port" is number 65536, and no uint16`,
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","community_id":"2:x"}`:                                         `log:1: "2:x" is no Community ID of version 1`,
		`{"event_type":"alert"`: "log:1: no JSON at byte 21: unexpected end of JSON input",
		`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"192.0.2.2","flow":{"start":"yesterday"}}`: `log:1: flow: "yesterday" is no time`,
		`[1]`: "log:1: neither JSON nor behind header lines of Zeek's that name the fields",
		`{}`:  "log:1: neither EVE, as it has no event_type, nor of Zeek, as it has no ts",
	} {
		if got := read(t, line+"\n"); len(got) != 1 || got[0] != want {
			t.Errorf("%s:\n got %q\nwant %q", line, got, want)
		}
	}
}

// connTSV is a conn.log and a notice.log, one behind the other.
const connTSV = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t2023-11-14-22-13-20\n" +
	"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\tconn_state\ttunnel_parents\tvlan\tcommunity_id\n" +
	"#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tstring\tset[string]\tint\tstring\n" +
	"1700000000.123456\tCabc1\t192.0.2.1\t40000\t198.51.100.7\t443\ttcp\tssl\t1.500000\tSF\t(empty)\t20\t1:d/FP5EW3wiY1vCndhwleRRKHowQ=\n" +
	"1700000001.000001\tCabc2\t192.0.2.1\t8\t198.51.100.7\t0\ticmp\t-\t-\tOTH\t-\t-\t-\n" +
	"1700000002.000000\tCabc3\t2001:db8::1\t128\t2001:db8::2\t129\ticmp\t-\t-\tOTH\t-\t-\t-\n" +
	"1700000003.000000\tCabc4\t192.0.2.1\n" +
	"#close\t2023-11-14-22-14-20\n" +
	"#separator |\n#unset_field|-\n#path|notice\n" +
	"#fields|ts|uid|id.orig_h|id.orig_p|id.resp_h|id.resp_p|proto|note|msg|src|dst|p\n" +
	"#types|time|string|addr|port|addr|port|enum|enum|string|addr|addr|port\n" +
	"1700000004.000000|Cabc5|192.0.2.1|1|198.51.100.7|22|tcp|SSH::Password_Guessing|a \\x7c b|192.0.2.1|198.51.100.7|22\n" +
	"1700000005.000000|-|-|-|-|-|tcp|Scan::Address_Scan|scanned|192.0.2.1|198.51.100.7|22\n" +
	"1700000006.000000|-|-|-|-|-|-|Weird::Activity|-|192.0.2.1|-|-\n"

func TestZeekTSV(t *testing.T) {
	want := []string{
		"zeek-tsv conn 2023-11-14T22:13:20.123456Z id=Cabc1 flow=192.0.2.1:40000 198.51.100.7:443 tcp from 2023-11-14T22:13:20.123456Z to 2023-11-14T22:13:21.623456Z vlan [20] 1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
		"zeek-tsv conn 2023-11-14T22:13:21.000001Z id=Cabc2 flow=192.0.2.1 198.51.100.7 icmp 8/0 from 2023-11-14T22:13:21.000001Z to 2023-11-14T22:13:21.000001Z",
		"zeek-tsv conn 2023-11-14T22:13:22Z id=Cabc3 flow=2001:db8::1 2001:db8::2 icmp6 128/129 from 2023-11-14T22:13:22Z to 2023-11-14T22:13:22Z",
		"log:12: it has 3 fields, and #fields names 13",
		"zeek-tsv notice 2023-11-14T22:13:24Z id=SSH::Password_Guessing flow=192.0.2.1:1 198.51.100.7:22 tcp",
		"zeek-tsv notice 2023-11-14T22:13:25Z id=Scan::Address_Scan flow=192.0.2.1 198.51.100.7:22 tcp",
		"log:21: it names no flow: neither two addresses nor a Community ID",
	}
	for name, text := range map[string]string{"": connTSV, "CRLF": strings.ReplaceAll(connTSV, "\n", "\r\n")} {
		got := read(t, text)
		if len(got) != len(want) {
			t.Fatalf("%s: %q", name, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s\n got %q\nwant %q", name, got[i], want[i])
			}
		}
	}
}

// TestZeekJSON has times in all the forms that Zeek has.
func TestZeekJSON(t *testing.T) {
	for ts, want := range map[string]string{
		"1700000000.123456": "2023-11-14T22:13:20.123456Z", "1700000000.1234567": "2023-11-14T22:13:20.1234567Z", "1700000000": "2023-11-14T22:13:20Z",
		"1.7000000001234562e9": "2023-11-14T22:13:20.1234562Z", "1700000000123": "2023-11-14T22:13:20.123Z", "1700000000123.456": "2023-11-14T22:13:20.123456Z",
		`"2023-11-14T22:13:20.123456Z"`: "2023-11-14T22:13:20.123456Z", `"2023-11-14T22:13:20.1000000Z"`: "2023-11-14T22:13:21Z",
	} {
		line := `{"ts":` + ts + `,"uid":"C1","id.orig_h":"192.0.2.1","id.orig_p":1,"id.resp_h":"192.0.2.2","id.resp_p":2,"proto":"udp","conn_state":"SF","duration":0.25,"tunnel_parents":["C0"],"vlan":null}`
		end, err := time.Parse(time.RFC3339Nano, want)
		if err != nil {
			t.Fatal(err)
		}
		want = "zeek-json conn " + want + " id=C1 flow=192.0.2.1:1 192.0.2.2:2 udp from " + want + " to " + end.Add(250*time.Millisecond).Format(time.RFC3339Nano)
		if got := read(t, line); len(got) != 1 || got[0] != want {
			t.Errorf("%s:\n got %q\nwant %q", ts, got, want)
		}
	}
	for line, want := range map[string]string{
		`{"_path":"notice","ts":1,"note":"A::B","src":"192.0.2.1","dst":"192.0.2.2","p":53,"proto":"udp"}`: "zeek-json notice 1970-01-01T00:00:01Z id=A::B flow=192.0.2.1 192.0.2.2:53 udp",
		`{"_path":"dns","ts":1,"uid":"C","community_id":"1:d/FP5EW3wiY1vCndhwleRRKHowQ="}`:                 "zeek-json dns 1970-01-01T00:00:01Z id= flow=1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
		`{"ts":"soon"}`: `log:1: ts: "soon" is no time`,
		`{"ts":1e400}`:  `log:1: ts: "1e400" is no time`,
		`{"ts":-1}`:     `log:1: ts: "-1" is no time`,
		`{"ts":1,"id.orig_h":"192.0.2.1","id.resp_h":"192.0.2.2","id.orig_p":70000}`:        `log:1: "70000" is no port`,
		`{"ts":1,"conn_state":"SF","id.orig_h":"192.0.2.1","id.resp_h":"x","duration":"x"}`: `log:1: duration: "x" is no number of seconds`,
	} {
		if got := read(t, line); len(got) != 1 || got[0] != want {
			t.Errorf("%s:\n got %q\nwant %q", line, got, want)
		}
	}
}

// TestZeekLies: header lines that can't be, and fields that are not of the type that the header says.
func TestZeekLies(t *testing.T) {
	for text, want := range map[string]string{
		"#separator \\x0\n":                     `log:1: "\\x0" is no separator`,
		"#separator \\xzz\n":                    `log:1: "\\xzz" is no separator`,
		"#separator\n192.0.2.1\tx\n":            "log:2: neither JSON nor behind header lines of Zeek's that name the fields",
		"#fields\tts\tts\n":                     `log:1: #fields names "ts" twice`,
		"#fields\tts\n#types\ttime\taddr\n":     "log:2: #types has 2 types for 1 fields",
		"#fields\tts\n#types\taddr\n1\n":        "log:3: #types says that ts is addr",
		"#unset_field\n":                        "log:1: #unset_field has 0 words",
		"#fields" + strings.Repeat("\tx", 2000): "log:1: 2001 fields are too many",
	} {
		if got := read(t, text); len(got) == 0 || got[0] != want {
			t.Errorf("%q:\n got %q\nwant %q", text[:min(len(text), 60)], got, want)
		}
	}
}

// TestLongLine: a line that is too long is refused, whatever it has, costs no more memory, and the next one is read.
func TestLongLine(t *testing.T) {
	long := `{"event_type":"alert","x":"` + strings.Repeat("x", 3*MaxLine) + `"}` + "\n"
	got := read(t, long+`{"timestamp":"2023-11-14T22:13:25Z","event_type":"alert","src_ip":"192.0.2.1","dest_ip":"192.0.2.2"}`)
	if len(got) != 2 || got[0] != "log:1: the line has more than 1048576 bytes" || !strings.HasPrefix(got[1], "eve alert ") {
		t.Errorf("%.200q", got)
	}
	l := newLines(strings.NewReader(long))
	if line, err := l.next(); err != nil || len(line) != MaxLine+1 || cap(l.line) > 2*MaxLine+1<<16 {
		t.Errorf("%d bytes, room for %d, %v", len(line), cap(l.line), err)
	}
	broken := errors.New("broken")
	if err := Read(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)), "log", func(*Alert, error) error { return nil }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestName: names of files, of hostile alerts too.
func TestName(t *testing.T) {
	at := time.Date(2023, 11, 14, 22, 13, 25, 1000, time.FixedZone("", 3600))
	for want, a := range map[string]Alert{
		"20231114T211325.000001Z-2100498-192.0.2.1_40000-198.51.100.7_443-tcp": {ID: "2100498", Ends: ends(t, "192.0.2.1", 40000, "198.51.100.7", 443, 6)},
		"20231114T211325.000001Z-A--B-2001-db8--1_1-2001-db8--2_2-udp":         {ID: "A::B", Ends: ends(t, "2001:db8::1", 1, "2001:db8::2", 2, 17)},
		"20231114T211325.000001Z-..-..-etc-1-d-FP5EW3wiY1vCndhwleRRKHowQ-":     {ID: "../../etc", CommunityID: "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
	} {
		a.Time = at
		if got := a.Name(); got != want {
			t.Errorf("%s, and not %s", got, want)
		}
	}
	if a := (Alert{Time: at, ID: strings.Repeat("\x00/\xff", 1000), CommunityID: strings.Repeat("x", 30)}); len(a.Name()) > 250 || strings.ContainsAny(a.Name(), "/\x00") {
		t.Errorf("%q", a.Name())
	}
}

func ends(t testing.TB, src string, srcPort uint16, dst string, dstPort uint16, proto uint8) (e Ends) {
	t.Helper()
	var err error
	if e.Src, e.Dst, err = parseAddrs(src, dst); err != nil {
		t.Fatal(err)
	}
	e.Proto, e.HasProto = proto, true
	e.ports(&srcPort, &dstPort)
	return e
}

// FuzzAlert: whatever lines say, they are alerts with a flow and a time that packets may have, or errors that name the line.
func FuzzAlert(f *testing.F) {
	f.Add(connTSV)
	f.Add(`{"timestamp":"2023-11-14T22:13:25.000000+0000","event_type":"alert","vlan":[20,10],"src_ip":"192.0.2.1","src_port":5,"dest_ip":"198.51.100.7","dest_port":6,"proto":"UDP","tunnel":{"src_ip":"203.0.113.1","dest_ip":"203.0.113.2","proto":"GRE"},"flow":{"start":"2023-11-14T22:13:20.000000+0000"},"alert":{"signature_id":3,"signature":"x"}}`)
	f.Add(`{"ts":1.7e9,"uid":"C1","id.orig_h":"2001:db8::1","id.orig_p":128,"id.resp_h":"2001:db8::2","id.resp_p":129,"proto":"icmp","duration":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		n := strings.Count(text, "\n") + 1
		_ = Read(strings.NewReader(text), "log", func(a *Alert, err error) error {
			var bad *LineError
			switch {
			case errors.As(err, &bad):
				if bad.Line < 1 || bad.Line > n || len(err.Error()) > 1000 {
					t.Errorf("line %d of %d: %.2000q", bad.Line, n, err)
				}
			case err != nil:
				t.Error(err)
			case a.Flow() == "" || a.Time.Year() < 1970 || a.Time.Year() > 2106 || a.Line < 1 || a.Line > n:
				t.Errorf("%+v", a)
			case len(a.Name()) > 250 || safe(a.Name()) != a.Name():
				t.Errorf("%q", a.Name())
			}
			return nil
		})
	})
}
