//go:build cgo && (amd64 || arm64)

package flows

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"capd/internal/index"
	"capd/pcap"

	_ "github.com/duckdb/duckdb-go/v2"
)

const day = 1767312000 // 2026-01-02

// A recording is a capture file while it is made.
type recording struct {
	enc *pcap.Encoder
	b   []byte
}

func newRecording() *recording {
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	return &recording{enc, slices.Clone(enc.Header())}
}

// packet adds a packet of IPv4 between two hosts of 10.0.0.0/24.
func (r *recording) packet(sec uint32, vlan uint16, proto byte, from, to byte, sport, dport uint16, flags byte, size int) {
	var b []byte
	b = append(b, 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from)
	if vlan > 0 {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), vlan)
	}
	b = append(b, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, from, 10, 0, 0, to)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sport), dport)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags)
	b = append(b, make([]byte, size-len(b))...)
	record := make([]byte, r.enc.MaxRecord())
	n, _ := r.enc.Encode(record, []pcap.Packet{{Data: b, Length: uint32(size), Sec: sec, Nsec: 123456789}})
	r.b = append(r.b, record[:n]...)
}

// save writes the file and its table to the current directory.
func (r *recording) save(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, r.b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Build(t.Context(), name, false, nil); err != nil {
		t.Fatal(err)
	}
}

// answers are those to the questions of the document, in its order, a line for each row.
var answers = []string{
	"",
	"10.0.0.53|2400|3400, 10.0.0.1|3200|2200, 10.0.0.2|0|2400",
	"10.0.0.1, 10.0.0.7",
	"10.0.0.66|40|40",
	"10.0.0.2|1|1, 10.0.0.2|2|1, 10.0.0.2|3|1",
	"10.0.0.1|1000|10.0.0.53|53|2026-01-02 00:00:00.123456789 +0000 UTC|86410",
	"10.0.0.1|1000|10.0.0.53|53|5200",
	"10.0.0.7|2026-01-03 00:00:20.123456789 +0000 UTC",
	"17|53|2|5600",
	"2026-01-02 00:00:00 +0000 UTC|[]|4, 2026-01-02 00:00:00 +0000 UTC|[5]|40, 2026-01-03 00:00:00 +0000 UTC|[]|6",
	"one.pcapng.flows.parquet|[0]|4, two.pcapng.flows.parquet|[0]|2",
}

// TestDocument: DuckDB answers the questions of docs/flows.md.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/flows.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	one, two := newRecording(), newRecording()
	for i := range uint32(2) {
		one.packet(day+i, 0, 17, 1, 53, 1000, 53, 0, 1000)
		one.packet(day+i, 0, 17, 53, 1, 53, 1000, 0, 1000)
	}
	for port := range uint16(40) {
		one.packet(day+60, 5, 6, 66, 2, 4000, port+1, 2, 60)
	}
	one.save(t, "one.pcapng")
	two.packet(day+86400, 0, 17, 1, 53, 1000, 53, 0, 1000)
	two.packet(day+86410, 0, 17, 53, 1, 53, 1000, 0, 200)
	two.packet(day+86420, 0, 17, 7, 53, 1000, 53, 0, 200)
	two.packet(day+86421, 0, 17, 53, 7, 53, 1000, 0, 200)
	two.packet(day+86422, 0, 17, 1, 53, 1001, 53, 0, 100)
	two.packet(day+86422, 0, 17, 1, 53, 1001, 53, 0, 100)
	two.save(t, "two.pcapng")

	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	questions := strings.Split(string(document), "```sql\n")[1:]
	if len(questions) != len(answers) {
		t.Fatalf("%d questions, %d answers", len(questions), len(answers))
	}
	for i, q := range questions {
		q, _, _ = strings.Cut(q, "```")
		got, err := ask(db, q)
		if err != nil || got != answers[i] {
			t.Errorf("%s%v\n%s, want\n%s", q, err, got, answers[i])
		}
	}
	const sums = "SELECT sum(a_packets + b_packets), sum(a_bytes + b_bytes) FROM flows WHERE tunnel IS NULL"
	if got, err := ask(db, sums); err != nil || got != "50|8200" {
		t.Errorf("sums: %s, %v", got, err)
	}
}

// ask returns the rows of an answer.
func ask(db *sql.DB, question string) (string, error) {
	rows, err := db.Query(question)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return "", err
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprint(v)
		}
		lines = append(lines, strings.Join(line, "|"))
	}
	return strings.Join(lines, ", "), errors.Join(rows.Err(), rows.Close())
}
