package loop

import (
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"pooler/internal/tlsconn"
)

// veil is what a Stream has besides while TLS protects it. An idle one holds no bytes but an incomplete record.
type veil struct {
	layer  *tlsconn.Layer
	rest   []byte // ciphertext that was read and not decrypted
	plain  []byte // text that did not fit into the reader's buffer
	err    error  // how the text ends, once what there is has been read
	nudged bool   // in the loop's list
}

// TLS is what protects the stream's bytes, nil if nothing does.
func (s *Stream) TLS() *tlsconn.Layer {
	if s.veil == nil {
		return nil
	}
	return s.veil.layer
}

// StartTLS has the stream go on under layer, in both directions. rest is ciphertext that was read already: OnReadable
// follows if there is something in it. Nothing may be queued.
func (s *Stream) StartTLS(layer *tlsconn.Layer, rest []byte) {
	s.veil = &veil{layer: layer, rest: rest, err: layer.Err()} // another loop may have seen the end already
	s.nudge()
}

// pending tells whether there is something to read without asking the socket.
func (v *veil) pending() bool { return len(v.plain) > 0 || v.err != nil || tlsconn.Whole(v.rest) }

// readVeiled is Read for a stream under TLS.
func (s *Stream) readVeiled(p []byte) (int, error) {
	v := s.veil
	switch {
	case s.loop == nil:
		return 0, io.EOF
	case len(v.plain) > 0:
		n := copy(p, v.plain)
		if v.plain = v.plain[n:]; len(v.plain) == 0 {
			v.plain = nil // whoever idles holds nothing
		}
		s.nudge()
		return n, nil
	case v.err != nil:
		return 0, v.err
	case len(p) >= tlsconn.MaxRecord:
		plain, err := s.unveil(p)
		return len(plain), err
	}
	plain, err := s.unveil(s.loop.cipher()[:ChunkSize])
	n := copy(p, plain)
	if n < len(plain) {
		v.plain = slices.Clone(plain[n:])
	}
	s.nudge()
	return n, err
}

// Unread tells whether the peer has sent something that has not been read yet. Under TLS that is text: it is decrypted to
// find out, a record at a time at most, and kept for Read.
func (s *Stream) Unread() bool {
	switch v := s.veil; {
	case s.loop == nil:
		return false
	case v == nil:
		return s.waiting()
	case len(v.plain) > 0:
		return true
	case v.err == nil && (tlsconn.Whole(v.rest) || s.waiting()):
		plain, _ := s.unveil(s.loop.cipher()[:tlsconn.MaxRecord])
		if len(plain) > 0 {
			v.plain = slices.Clone(plain)
			s.nudge()
		}
		return len(plain) > 0
	}
	return false
}

// waiting tells whether the socket has bytes to read.
func (s *Stream) waiting() bool {
	n, err := unix.IoctlGetInt(int(s.fd), unix.TIOCINQ)
	return err == nil && n > 0
}

// unveil reads into b, which has room for a record at least, and decrypts there. It returns text or an error.
func (s *Stream) unveil(b []byte) ([]byte, error) {
	v := s.veil
	n := copy(b, v.rest)
	held := tlsconn.Whole(v.rest) // it came with the layer
	if !held {
		m, err := s.readSocket(b[n:])
		if n > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // in the middle of a record
		}
		if err != nil {
			return nil, err
		}
		n += m
	}
	plain, rest, err := v.layer.Open(b[:n])
	if held {
		if v.rest = v.rest[n-len(rest):]; len(v.rest) == 0 {
			v.rest = nil
		}
	} else {
		s.keepRest(rest)
	}
	if err != nil {
		v.err = err
	}
	s.answer()
	s.nudge()
	switch {
	case len(plain) > 0:
		return plain, nil
	case v.err != nil:
		return nil, v.err
	}
	return nil, ErrWouldBlock
}

// answer sends what the layer wants said. What only acknowledges waits while the peer does not read: Write says it then.
func (s *Stream) answer() {
	v := s.veil
	if s.broken || s.backlog != nil && v.err == nil {
		return
	}
	s.push(v.layer.Answer())
	if v.err != nil && !errors.Is(v.err, io.EOF) {
		s.broken = true // whatever follows, the peer would not take it
	}
}

// writeVeiled is Write for a stream under TLS.
func (s *Stream) writeVeiled(p []byte) {
	layer := s.veil.layer
	s.push(layer.Answer())
	for len(p) > 0 && !s.broken {
		n := min(len(p), ChunkSize)
		if b := s.backlog; b != nil {
			b.out = layer.Seal(b.out, p[:n])
		} else {
			s.loop.sealed = layer.Seal(s.loop.cipher(), p[:n])
			s.push(s.loop.sealed)
		}
		p = p[n:]
	}
}

// fault is how TLS has ended the connection, nil if it has not, or as it should.
func (s *Stream) fault() *tlsconn.AlertError {
	var fault *tlsconn.AlertError
	if s.veil != nil && errors.As(s.veil.err, &fault) {
		return fault
	}
	return nil
}

// sayClose tells the peer that nothing follows, if that can be done at once.
func (s *Stream) sayClose() {
	v := s.veil
	if v == nil || s.broken || s.backlog != nil {
		return
	}
	if bye := v.layer.SealClose(s.loop.cipher()); len(bye) > 0 { // else it has been said
		_, _ = writeNow(int(s.fd), bye)
	}
}

// keepRest keeps rest, the beginning of a record, until the next read.
func (s *Stream) keepRest(rest []byte) {
	v, l := s.veil, s.loop
	if cap(v.rest) < len(rest) || len(rest) == 0 {
		l.freeRecord(v.rest)
		v.rest = nil
	}
	if v.rest == nil && len(rest) > 0 {
		v.rest = l.record(len(rest))
	}
	v.rest = append(v.rest[:0], rest...)
}

// record is an empty buffer for n bytes of a record, at most MaxRecord.
func (l *Loop) record(n int) []byte {
	if n <= smallSize {
		return l.Small()
	}
	if n := len(l.records); n > 0 {
		b := l.records[n-1]
		l.records = l.records[:n-1]
		return b
	}
	return make([]byte, 0, tlsconn.MaxRecord)
}

func (l *Loop) freeRecord(b []byte) {
	l.FreeSmall(b)
	if cap(b) == tlsconn.MaxRecord && len(l.records) < maxSpare {
		l.records = append(l.records, b[:0])
	}
}

// cipher is an empty buffer with room for a chunk under TLS. All streams of a loop share it.
func (l *Loop) cipher() []byte {
	if l.sealed == nil {
		l.sealed = make([]byte, 0, ChunkSize+(ChunkSize>>14)*tlsconn.Overhead)
	}
	return l.sealed[:0]
}

// nudge has the handler called soon for what the stream holds itself, of which epoll knows nothing.
func (s *Stream) nudge() {
	v := s.veil
	if v == nil || v.nudged || s.paused || s.loop == nil || !v.pending() {
		return
	}
	v.nudged = true
	s.loop.nudged = append(s.loop.nudged, s)
}

// unnudge takes the stream off the list: it leaves the loop.
func (s *Stream) unnudge() {
	if s.veil == nil || !s.veil.nudged {
		return
	}
	s.veil.nudged = false
	s.loop.nudged[slices.Index(s.loop.nudged, s)] = nil
}

// prod calls the handlers of those that were nudged, once each; who is nudged meanwhile comes next time.
func (l *Loop) prod() {
	n := len(l.nudged)
	for i := range n {
		s := l.nudged[i]
		if s == nil {
			continue
		}
		l.nudged[i] = nil
		s.veil.nudged = false
		if !s.paused && s.veil.pending() {
			fd := s.fd
			if l.dispatch(s, unix.EPOLLIN); l.streams[fd] == s { // else it is closed, or another loop's by now
				s.nudge()
			}
		}
	}
	l.nudged = slices.Delete(l.nudged, 0, n)
}
