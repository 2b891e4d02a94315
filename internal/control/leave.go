package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"capd/internal/hint"
)

// Orders after which the recorders leave their rings to another process, or to another program in this one.
const (
	TakeOver = "take-over" // the client gets the descriptors over the connection
	Upgrade  = "upgrade"   // capd goes on as its program as it is now; the connection ends when that begins
)

// longestLeave is how long a client waits until capd has left.
const longestLeave = 5 * time.Minute

// goAhead is sent by the client once it has the answer to such an order. Nothing happens before.
const goAhead = 'g'

// ErrTooOld is returned if the running capd does not know the order.
var ErrTooOld = hint.New("the running capd is of a version that can't hand over its recording: nothing has changed",
	"restart it: frames are lost between its end and the start of the next one")

type connKey struct{}

// withConn makes the connection known to handlers.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// leave returns the handler of an order after which the recorders leave. The connection does not speak HTTP any more when
// that is accepted.
func (s *Server) leave(order string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, ok := r.Context().Value(connKey{}).(*net.UnixConn)
		if !ok {
			fail(w, Refused("%s: only over the unix socket", order))
			return
		}
		if err := owner(conn); err != nil {
			answer(w, http.StatusForbidden, failure{order + ": " + err.Error()})
			return
		}
		if body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil || strings.TrimSpace(string(body)) != "{}" {
			answer(w, http.StatusBadRequest, failure{"request: {} is expected"})
			return
		}
		leave, err := s.backend.Leave(r.Context(), order)
		if err != nil {
			fail(w, err)
			return
		}
		_, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			leave(nil)
			fail(w, err)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(silence))
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: capd-"+order+"\r\n\r\n")
		b, goErr := buffered.ReadByte()
		if err != nil || goErr != nil || b != goAhead {
			_ = conn.Close()
			leave(nil)
			return
		}
		_ = conn.SetDeadline(time.Time{})
		leave(conn)
	}
}

// owner returns an error unless the process at the other end has the user of this one, or is root.
func owner(conn *net.UnixConn) error {
	uid, err := peer(conn)
	if err == nil && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("only user %d and root may do that, and this is user %d", os.Geteuid(), uid)
	}
	return err
}

// Leave gives the order, and returns the connection when capd begins to leave.
func (c *Client) Leave(ctx context.Context, order string) (*net.UnixConn, error) {
	var d net.Dialer
	dialed, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, &UnreachableError{c.path, err}
	}
	conn, ok := dialed.(*net.UnixConn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if err := ask(conn, order); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func ask(conn *net.UnixConn, order string) error {
	_ = conn.SetDeadline(time.Now().Add(patience + silence))
	_, err := fmt.Fprintf(conn, "POST /v1/%s HTTP/1.1\r\nHost: capd\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", order)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) // nothing comes behind it before goAhead
	if err != nil {
		return fmt.Errorf("capd does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		var f failure
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&f); err != nil || f.Error == "" {
			f.Error = resp.Status
		}
		if resp.StatusCode == http.StatusNotFound {
			return ErrTooOld
		}
		return fmt.Errorf("capd says: %s", f.Error)
	}
	_ = conn.SetDeadline(time.Now().Add(longestLeave))
	_, err = conn.Write([]byte{goAhead})
	return err
}

// Upgrade makes capd go on as its program as it is now. It returns when that has begun.
func (c *Client) Upgrade(ctx context.Context) error {
	conn, err := c.Leave(ctx, Upgrade)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	why, err := io.ReadAll(io.LimitReader(conn, maxHeader))
	if err == nil && len(why) > 0 {
		err = fmt.Errorf("capd says: %s", why)
	}
	return err
}
