// Package transcript plays a script of protocol messages over a raw connection and keeps every message that came
// back, so that what a server says directly and what it says through a proxy can be compared byte for byte.
package transcript

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// stepTimeout turns an answer that does not come into a failure that names its step.
const stepTimeout = 20 * time.Second

// smallBuffer is a socket buffer that one large row fills. Smaller than a packet of the loopback device, the kernel
// would wait for timers instead of the reader.
const smallBuffer = 128 << 10

// Group is steps that belong together, named by a sentence.
type Group struct {
	Name string
	// Stateless: no step depends on session state that an earlier transaction left behind.
	Stateless bool
	Steps     []Step
}

// Step is bytes sent in one go, and where the answers to them end: with the Count-th message of type Until, or, if
// Until is 0, with the connection.
type Step struct {
	Send  []byte
	Until byte
	Count int
}

// Send makes a step of messages. It panics if one cannot be encoded: scripts are constants.
func Send(until byte, count int, messages ...pgproto3.FrontendMessage) Step {
	s := Step{Until: until, Count: count}
	for _, m := range messages {
		var err error
		if s.Send, err = m.Encode(s.Send); err != nil {
			panic(fmt.Sprintf("bug: script holds a message that cannot be encoded: %v", err))
		}
	}
	return s
}

// Raw is bytes to be sent as they are, for what pgproto3 would not build.
type Raw []byte

// Frontend implements pgproto3.FrontendMessage.
func (Raw) Frontend() {}

// Decode implements pgproto3.FrontendMessage.
func (Raw) Decode([]byte) error { return errors.New("raw bytes are not decoded") }

// Encode implements pgproto3.FrontendMessage.
func (r Raw) Encode(dst []byte) ([]byte, error) { return append(dst, r...), nil }

// Options say how a script is played.
type Options struct {
	Parameters map[string]string // of the StartupMessage
	Chunk      int               // bytes per write, 0: each step whole
	ReadChunk  int               // bytes per read from a small socket buffer, 0: whatever there is
	Pipelined  bool              // each group's steps are sent in one go
	Reconnect  bool              // each group has a connection of its own
	// Between is called before each group, and, unless pipelined, between its steps.
	Between func() error
}

// Message is one message of the server's.
type Message struct {
	Type byte
	Body []byte
}

// Answers is what came back for one step, or for a group that was pipelined.
type Answers struct {
	Name     string
	Messages []Message
}

// Play logs in at addr and plays groups. What came back before an error is returned with it.
func Play(addr string, groups []Group, opts Options) ([]Answers, error) {
	p, login, err := connect(addr, opts)
	all := []Answers{login}
	if err != nil {
		return all, err
	}
	defer func() { p.leave() }()
	for i, g := range groups {
		if i > 0 && opts.Reconnect {
			p.leave()
			if p, _, err = connect(addr, opts); err != nil {
				return all, fmt.Errorf("%s: %w", g.Name, err)
			}
		}
		answers, err := p.group(g)
		all = append(all, answers...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func connect(addr string, opts Options) (*player, Answers, error) {
	login := Answers{Name: "login"}
	p, err := dial(addr, opts)
	if err != nil {
		return p, login, err
	}
	start, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: opts.Parameters}).Encode(nil)
	if err == nil {
		login.Messages, err = p.step(Step{Send: start, Until: 'Z', Count: 1})
	}
	if err != nil {
		p.leave()
		return p, login, fmt.Errorf("login: %w", err)
	}
	return p, login, nil
}

func (p *player) leave() {
	if b, err := (&pgproto3.Terminate{}).Encode(nil); err == nil {
		_, _ = p.conn.Write(b) // an ending script has closed the connection
	}
	_ = p.conn.Close()
}

func (p *player) group(g Group) ([]Answers, error) {
	var all []Answers
	steps := g.Steps
	if p.opts.Pipelined {
		steps = []Step{join(steps)}
	}
	for i, s := range steps {
		if err := p.between(); err != nil {
			return all, err
		}
		name := fmt.Sprintf("%s, step %d", g.Name, i+1)
		messages, err := p.step(s)
		all = append(all, Answers{Name: name, Messages: messages})
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// join makes one step of several: all is sent, then all is read.
func join(steps []Step) Step {
	all := Step{Until: 'Z'}
	for _, s := range steps {
		all.Send = append(all.Send, s.Send...)
		switch s.Until {
		case 'Z':
			all.Count += s.Count
		case 0:
			all.Until = 0
		}
	}
	return all
}

// player is one connection that a script is played on.
type player struct {
	conn net.Conn
	opts Options
	in   []byte // received, not yet cut into messages
	buf  []byte
}

func dial(addr string, opts Options) (*player, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &player{conn: conn, opts: opts, buf: make([]byte, 64<<10)}
	if opts.ReadChunk > 0 {
		p.buf = p.buf[:opts.ReadChunk]
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(smallBuffer)
		}
	}
	return p, err
}

func (p *player) between() error {
	if p.opts.Between == nil {
		return nil
	}
	return p.opts.Between()
}

// step sends while it reads: a server that cannot get rid of its answers stops listening.
func (p *player) step(s Step) ([]Message, error) {
	if err := p.conn.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- p.write(s.Send) }()
	messages, err := p.read(s.Until, s.Count)
	if err != nil {
		_ = p.conn.SetDeadline(time.Unix(1, 0))
	}
	writeErr := <-sent
	if s.Until == 0 {
		writeErr = nil // a server that hangs up need not have read everything
	}
	return messages, errors.Join(err, writeErr)
}

// Small chunks matter near the borders of messages; the middle of a large one may go faster.
const (
	carefully = 2000
	atLeast   = 1000
)

func (p *player) write(b []byte) error {
	size := len(b)
	for at := 0; at < size; {
		n := p.opts.Chunk
		switch {
		case n == 0:
			n = size
		case n < atLeast && at >= carefully && size-at > carefully:
			n = atLeast
		}
		n = min(n, size-at)
		if _, err := p.conn.Write(b[at : at+n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func (p *player) read(until byte, count int) ([]Message, error) {
	var all []Message
	for {
		m, err := p.message()
		if until == 0 && (errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err)) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("after %d messages, %d of %q: %w", len(all), countOf(all, until), until, err)
		}
		all = append(all, m)
		if until != 0 && m.Type == until && countOf(all, until) == count {
			return all, nil
		}
	}
}

func countOf(all []Message, typ byte) int {
	n := 0
	for _, m := range all {
		if m.Type == typ {
			n++
		}
	}
	return n
}

func (p *player) message() (Message, error) {
	for {
		if len(p.in) >= 5 {
			size := int(p.in[1])<<24 | int(p.in[2])<<16 | int(p.in[3])<<8 | int(p.in[4])
			if size < 4 {
				return Message{}, fmt.Errorf("message %q of length %d", p.in[0], size)
			}
			if len(p.in) > size {
				m := Message{Type: p.in[0], Body: bytes.Clone(p.in[5 : size+1])}
				p.in = p.in[size+1:]
				return m, nil
			}
		}
		n, err := p.conn.Read(p.buf)
		p.in = append(p.in, p.buf[:n]...)
		if err != nil && n == 0 {
			return Message{}, err
		}
	}
}
