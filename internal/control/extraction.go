package control

import (
	"context"
	"net"
	"net/http"
)

// An Extraction is an answer that somebody got out of a directory, for its ledger.
type Extraction struct {
	Directory string `json:"directory"`
	User      string `json:"user,omitempty"` // name of the user, by the client's own word
	Sudo      string `json:"sudo,omitempty"` // who became that user, by the client's own word
	Question  string `json:"question"`
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`

	UID int `json:"-"` // of the client, as the system says it
}

// extracted takes an Extraction for the ledger.
func (s *Server) extracted(ctx context.Context, e Extraction) ([]string, error) {
	uid, err := clientOf(ctx)
	if err != nil {
		return nil, err
	}
	e.UID = uid
	return nil, s.backend.Extracted(ctx, e)
}

// clientOf returns the user who asks, as the system says it.
func clientOf(ctx context.Context) (uid int, err error) {
	conn, ok := ctx.Value(connKey{}).(*net.UnixConn)
	if !ok {
		return 0, Refused("who asks is known only over the unix socket")
	}
	return peer(conn)
}

// byClient adds who asks to the order, if files are held for a case.
func byClient(do func(context.Context, Selection) ([]string, error)) func(context.Context, Selection) ([]string, error) {
	return func(ctx context.Context, s Selection) (_ []string, err error) {
		if s.Case != nil {
			if s.Case.UID, err = clientOf(ctx); err != nil {
				return nil, err
			}
		}
		return do(ctx, s)
	}
}

// Flush makes capd write to its files what has come up to now. It returns when all of it can be read there, with up to where that is in
// files that are being recorded, unless an older capd does not say it.
func (c *Client) Flush(ctx context.Context) ([]Whole, error) {
	var a Answer
	err := c.ask(ctx, http.MethodPost, "flush", struct{}{}, &a)
	return a.Whole, err
}

// Extracted gives capd a line for the ledger of a directory that it records into.
func (c *Client) Extracted(ctx context.Context, e Extraction) error {
	return c.ask(ctx, http.MethodPost, "extracted", e, new(Answer))
}
