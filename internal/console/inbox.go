package console

import (
	"context"
	"io"
	"net"
	"time"
)

// inbox reads ahead of the session, so that a client that hangs up is noticed also while a command of its runs, and
// nothing that it has sent is lost. Read belongs to the session's goroutine.
type inbox struct {
	conn   net.Conn
	ctx    context.Context // ends each Read, as a deadline would
	chunks chan []byte
	rest   []byte
	gone   chan struct{} // closed when nothing more can come
	err    error         // why, once gone is closed
	quit   chan struct{} // closed when the session has ended
}

const (
	chunkSize   = 4 << 10
	chunksAhead = 64 // then the client is not read from until the command is done
)

func newInbox(ctx context.Context, conn net.Conn) *inbox {
	in := &inbox{
		conn: conn, ctx: ctx, chunks: make(chan []byte, chunksAhead),
		gone: make(chan struct{}), quit: make(chan struct{}),
	}
	go in.fill() // awaited by close
	return in
}

func (in *inbox) fill() {
	defer close(in.gone)
	for {
		buf := make([]byte, chunkSize)
		n, err := in.conn.Read(buf)
		if n > 0 {
			select {
			case in.chunks <- buf[:n]:
			case <-in.quit:
				err = io.ErrClosedPipe
			}
		}
		if err != nil {
			in.err = err
			return
		}
	}
}

// Read waits for bytes, the connection's end, or that of ctx.
func (in *inbox) Read(p []byte) (int, error) {
	if len(in.rest) == 0 {
		if err := in.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

func (in *inbox) next() error {
	select {
	case in.rest = <-in.chunks:
		return nil
	case <-in.ctx.Done():
		return in.ctx.Err()
	case <-in.gone:
	}
	select { // what came before the end
	case in.rest = <-in.chunks:
		return nil
	default:
		return in.err
	}
}

// close ends the reading and waits for that. The connection stays open.
func (in *inbox) close() {
	close(in.quit)
	_ = in.conn.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, which serves as well
	<-in.gone
}
