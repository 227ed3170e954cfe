package loop

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel's own judgement of a peer that does not take what was sent (TCP_USER_TIMEOUT) is wrong in two ways.
//
// A peer that is alive and does not read is condemned like one that is dead: the timer does not care that the peer
// answers every window probe (tcp_probe_timer in Linux's tcp_timer.c; seen with 6.18). But a client that looks at the
// first page of a large result for an hour, or a PostgreSQL that waits for a lock in the middle of a COPY, is well.
//
// And the timer begins with the first byte that is not acknowledged: what is sent 20 s after the peer has vanished
// gives it all the time again.
//
// So each loop looks at the streams that have something unacknowledged, and at no others: the limit is moved on for a
// peer that has been heard, and a peer that has not been heard for as long as the limit says is dead. An idle
// connection costs nothing; the kernel's keepalive is its guard.

const (
	// unackedEvery is how often unacknowledged output is looked at.
	unackedEvery = 500 * time.Millisecond
	// shortestLeash is the least by which the kernel's limit is ahead of now: some looks may come late.
	shortestLeash = 2 * unackedEvery
	// answerTime is how long a peer that has not been heard for long has for its next answer. The kernel may not have
	// asked it before.
	answerTime = time.Second
)

// unacked is a stream with output of which the peer may not have acknowledged all.
type unacked struct {
	stream *Stream
	limit  time.Duration // TCP_USER_TIMEOUT as it was set; 0: not read yet
	probed bool          // keepalive would have heard an idle peer within limit
	set    time.Duration // as it is now, if that differs
	since  time.Time     // something has been unacknowledged ever since
	asked  time.Time     // the peer owes an answer to a probe or a repetition since; zero: it does not
}

// watchOver has the stream looked at until everything is acknowledged.
func (l *Loop) watchOver(s *Stream) {
	l.unacked = append(l.unacked, unacked{stream: s})
	s.watched = int32(len(l.unacked))
	if l.looking {
		return
	}
	l.looking = true
	if l.look == nil {
		l.look = time.AfterFunc(unackedEvery, func() { l.Post(l.lookAround) })
	} else {
		l.look.Reset(unackedEvery)
	}
}

// settled takes the stream off the list and puts its own limit back.
func (s *Stream) settled() {
	if s.watched == 0 {
		return
	}
	l, at := s.loop, int(s.watched)-1
	l.unacked[at].leash(l.unacked[at].limit)
	last := len(l.unacked) - 1
	l.unacked[at] = l.unacked[last]
	l.unacked[at].stream.watched = s.watched
	l.unacked[last] = unacked{}
	l.unacked = l.unacked[:last]
	s.watched = 0
}

// keptUnacked is for how many streams the list keeps its memory.
const keptUnacked = 256

// looksPerTurn bounds how many are looked at before others get their turn: each takes about 1 µs.
const looksPerTurn = 64

// lookAround looks at all that have something unacknowledged.
func (l *Loop) lookAround() { l.lookBelow(len(l.unacked)) }

// lookBelow looks at those before the place end, in portions, from the last to the first: settled moves the last one up.
func (l *Loop) lookBelow(end int) {
	now := time.Now()
	var dead []*Stream
	i := min(end, len(l.unacked)) - 1
	for n := 0; i >= 0 && n < looksPerTurn; i, n = i-1, n+1 {
		switch l.unacked[i].judge(now) {
		case peerSettled:
			l.unacked[i].stream.settled()
		case peerDead:
			dead = append(dead, l.unacked[i].stream)
		case peerSlow:
		}
	}
	switch {
	case i >= 0:
		l.Post(func() { l.lookBelow(i + 1) })
	case len(l.unacked) > 0:
		l.look.Reset(unackedEvery)
	default:
		l.looking = false
		if cap(l.unacked) > keptUnacked {
			l.unacked = nil // after a storm
		}
	}
	for _, s := range dead {
		l.declareDead(s)
	}
}

// declareDead tells the stream's handler what the kernel has not noticed yet.
func (l *Loop) declareDead(s *Stream) {
	if s.loop != l {
		return // another handler has closed it meanwhile
	}
	s.settled()
	s.lost, s.broken = uint16(unix.ETIMEDOUT), true
	defer l.contain(s.handler)
	s.handler.OnHangup()
}

type peerState uint8

const (
	peerSettled peerState = iota // it has acknowledged everything
	peerSlow
	peerDead
)

// judge says how the peer is, and moves the kernel's limit on while it is heard.
func (u *unacked) judge(now time.Time) peerState {
	fd := int(u.stream.fd)
	if n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err != nil || n == 0 && u.stream.Queued() == 0 {
		return peerSettled
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || !u.readLimit(fd) {
		return peerSettled // a Unix socket, whose peer cannot vanish, or nobody wants a limit
	}
	if u.since.IsZero() {
		u.since = now
	}
	silent := time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond
	if !u.probed {
		silent = min(silent, now.Sub(u.since)) // before that it was not asked
	}
	switch {
	case info.Retransmits == 0 && info.Probes == 0:
		u.asked = time.Time{}
	case u.asked.IsZero(), silent < now.Sub(u.asked):
		u.asked = now
	}
	if silent >= u.limit && !u.asked.IsZero() && now.Sub(u.asked) >= answerTime {
		return peerDead
	}
	// The kernel counts from u.since at the earliest; that the peer has taken some bytes since does not always begin the
	// count anew (tcp_ack_probe: not if the window holds less than the next packet). That its limit is near has another
	// use: it probes again before it, and else would wait up to two minutes, long for noticing that the peer has gone.
	u.leash(max(u.limit, now.Sub(u.since)+max(u.limit/3, shortestLeash)))
	return peerSlow
}

// readLimit reports whether the socket has a limit, which it notes.
func (u *unacked) readLimit(fd int) bool {
	if u.limit == 0 {
		ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil {
			return false
		}
		u.limit = time.Duration(ms) * time.Millisecond
		u.set, u.probed = u.limit, keepsAlive(fd, u.limit)
	}
	return u.limit > 0
}

// keepsAlive tells whether the socket's keepalive is over within limit.
func keepsAlive(fd int, limit time.Duration) bool {
	get := func(level, option int) int {
		v, err := unix.GetsockoptInt(fd, level, option)
		if err != nil {
			return 0
		}
		return v
	}
	seconds := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) + get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)*get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	return get(unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0 && time.Duration(seconds)*time.Second <= limit
}

// leash sets the kernel's limit.
func (u *unacked) leash(limit time.Duration) {
	if u.set == limit {
		return
	}
	u.set = limit
	_ = unix.SetsockoptInt(int(u.stream.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
}

// note keeps the first error of the connection: the kernel tells it once.
func (s *Stream) note(e syscall.Errno) {
	if s.lost == 0 {
		s.lost = uint16(e)
	}
}

// Retune has set change the socket's options, TCP_USER_TIMEOUT among them.
func (s *Stream) Retune(set func(fd int) error) error {
	if s.loop == nil {
		return nil
	}
	watched := s.watched != 0
	s.settled() // it has put the old limit back
	err := set(int(s.fd))
	if watched {
		s.loop.watchOver(s)
	}
	return err
}
