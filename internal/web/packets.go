package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"capd/internal/decode"
	"capd/internal/extract"
	"capd/internal/read"
	"capd/pcap"
)

// A found packet is one of an answer, valid until the next one.
type found struct {
	file   *read.File
	packet pcap.Packet
	at     time.Time
}

// errEnough ends eachPacket without an error.
var errEnough = errors.New("enough")

// eachPacket calls do for each packet that a plan finds, in order of time. It goes through what capd extract would write: so there is
// one way to an answer.
func eachPacket(ctx context.Context, plan *extract.Plan, do func(*found) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := plan.Find(ctx, extract.Output{To: w, Format: pcap.PCAPNG})
		w.CloseWithError(err)
		written <- err
	}()
	failed := readPackets(r, do)
	r.CloseWithError(errEnough) // what is written behind it fails
	if failed != nil {
		end()
	}
	err := <-written
	switch {
	case failed == errEnough:
		return nil
	case failed != nil:
		return failed
	case errors.Is(err, errEnough):
		return nil
	}
	return err
}

func readPackets(r io.Reader, do func(*found) error) error {
	f := found{file: read.New("answer", r, read.Options{})}
	for {
		p, err := f.file.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f.packet, f.at = p, time.Unix(int64(p.Sec), int64(p.Nsec)).UTC()
		if err := do(&f); err != nil {
			return err
		}
	}
}

// Packets are lines of an answer.
type packets struct {
	Packets  []packet `json:"packets"`
	Offset   int      `json:"offset"`
	More     bool     `json:"more"` // there are more
	Complete bool     `json:"complete"`
	Verdict  string   `json:"verdict"` // before the files were read
}

// A packet is one, decoded.
type packet struct {
	Time      time.Time      `json:"time"`
	Interface string         `json:"interface"`
	Length    int            `json:"length"`
	Captured  int            `json:"captured"`
	Src       string         `json:"src"`
	Dst       string         `json:"dst"`
	Protocol  string         `json:"protocol"`
	Info      string         `json:"info"`
	Line      string         `json:"line"`             // as capd watch prints it
	Layers    []decode.Layer `json:"layers,omitempty"` // with detail=1
	Bytes     []byte         `json:"bytes,omitempty"`  // with detail=1, in base64
}

// packets answers GET /v1/packets.
func (s *Server) packets(ctx context.Context, q *query) (any, error) {
	x := s.question(q)
	x.MostPackets = uint64(q.offset + q.limit + 1)
	plan, err := x.Plan(ctx, s.config.Recorders)
	if err != nil {
		return nil, err
	}
	out := &packets{Packets: []packet{}, Offset: q.offset, Complete: plan.Answer.Complete, Verdict: plan.Answer.Verdict()}
	decoders := make(map[pcap.LinkType]*decode.Decoder)
	n, size := 0, int64(0)
	err = eachPacket(ctx, plan, func(f *found) error {
		if n++; n <= q.offset {
			return nil
		}
		if q.detail {
			size += int64(len(f.packet.Data))
		}
		if n := len(out.Packets); n == q.limit || n > 0 && size > s.config.Limits.Detail {
			out.More = true
			return errEnough
		}
		link := f.file.Interface().LinkType
		if decoders[link] == nil {
			decoders[link] = decode.New(link, decode.Options{Layers: true})
		}
		p, err := describe(f, decoders[link].Decode(&f.packet), q.detail)
		out.Packets = append(out.Packets, p)
		return err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, err
}

// describe copies what is to be said of a packet.
func describe(f *found, d *decode.Frame, detail bool) (p packet, err error) {
	p = packet{
		Time: f.at, Interface: f.file.Interface().Name, Length: d.Length, Captured: d.Captured, Protocol: d.Protocol, Info: string(d.Info),
		Line: string(d.AppendLine(nil)), Src: endOf(d.Src.IsValid(), d.Src.String(), d.SrcMAC), Dst: endOf(d.Dst.IsValid(), d.Dst.String(), d.DstMAC),
	}
	if detail {
		p.Bytes = append([]byte{}, f.packet.Data...)
		b, err := json.Marshal(d.Layers) // they are valid until the next packet
		if err != nil {
			return p, err
		}
		return p, json.Unmarshal(b, &p.Layers)
	}
	return p, nil
}

func endOf(known bool, addr string, mac *decode.MAC) string {
	switch {
	case known:
		return addr
	case mac != nil:
		return mac.String()
	}
	return ""
}
