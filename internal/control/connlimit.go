package control

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// A connLimit limits the connections of a server. When there are too many, it closes the connection that
// has been idle for longest, so that idle clients can't keep other clients out.
type connLimit struct {
	mu    sync.Mutex
	turn  uint64
	conns map[net.Conn]uint64 // when the connection became idle, as a sequence number; 0: a request is being processed
}

// track implements http.Server.ConnState.
func (c *connLimit) track(conn net.Conn, state http.ConnState) {
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
		c.closeIdlest()
	}
}

// closeIdlest closes the connection that has been idle for longest. The caller holds mu.
func (c *connLimit) closeIdlest() {
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

// discard returns a logger that drops the HTTP server's messages about faulty clients.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
