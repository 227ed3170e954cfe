package web

import (
	"net"
	"sync"
	"sync/atomic"
)

// maxConnections bounds the descriptors that HTTP takes from the pooler's own clients. Further connections are closed.
const maxConnections = 256

// boundedListener accepts only so many connections at the same time.
type boundedListener struct {
	net.Listener
	most int32
	open atomic.Int32
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &countedConn{Conn: c, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

type countedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
