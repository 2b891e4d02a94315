package control

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// A crowd bounds the connections of a server: where there are too many, the one
// that has asked nothing for longest is closed. So clients that say nothing
// keep nobody else out.
type crowd struct {
	mu    sync.Mutex
	turn  uint64
	conns map[net.Conn]uint64 // when it last began to say nothing; 0: it asks
}

// note is for http.Server.ConnState.
func (c *crowd) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns = make(map[net.Conn]uint64)
	}
	switch state {
	case http.StateNew, http.StateIdle:
		c.turn++
		c.conns[conn] = c.turn
	case http.StateActive:
		c.conns[conn] = 0
	default:
		delete(c.conns, conn)
	}
	if len(c.conns) > maxConnections {
		c.thin()
	}
}

// thin closes a connection. The caller holds mu.
func (c *crowd) thin() {
	var oldest net.Conn
	for conn, turn := range c.conns {
		if turn > 0 && (oldest == nil || turn < c.conns[oldest]) {
			oldest = conn
		}
	}
	if oldest != nil {
		delete(c.conns, oldest)
		_ = oldest.Close()
	}
}

// discard returns a logger for what clients do wrong: it is theirs to know.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
