package loop

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Patient streams are those of clients that have not logged in yet. They have an epoll of their own, which stands in
// the loop's among the other streams, as one of them: so thousands that are ready at once do not stand before a client
// that is logged in, and in each turn of the loop only a few are served.

// patientPerTurn bounds what is done in a turn for those who are patient, of some 20 µs each. A turn that finds nothing
// else to do costs 2 µs, so more at once would hardly be cheaper.
const patientPerTurn = 4

func nestedEpoll(outer int) (int, error) {
	inner, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("create epoll: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(inner)}
	if err := unix.EpollCtl(outer, unix.EPOLL_CTL_ADD, inner, &ev); err != nil {
		_ = unix.Close(inner)
		return -1, fmt.Errorf("watch epoll: %w", err)
	}
	return inner, nil
}

// AttachUnwatched puts fd under the loop's care without waiting for it to become readable, until SetPatient: what is
// there already may decide how it is to be watched. The loop's thread must call it.
func (l *Loop) AttachUnwatched(fd int, h Handler) *Stream {
	s := &Stream{loop: l, handler: h, fd: int32(fd), interest: unix.EPOLLIN | unix.EPOLLRDHUP, unwatched: true}
	l.hold(s)
	return s
}

// SetPatient has the loop watch the stream, as a patient one or like the others.
func (s *Stream) SetPatient(on bool) error {
	if s.loop == nil {
		return nil
	}
	if !s.unwatched {
		_ = unix.EpollCtl(s.epoll(), unix.EPOLL_CTL_DEL, int(s.fd), nil)
	}
	s.unwatched, s.patient = false, on
	return s.register()
}

func (s *Stream) epoll() int {
	if s.patient {
		return s.loop.calm
	}
	return s.loop.epoll
}

// crowd is how many streams are ready at once before those whose peers have hung up give way to the others: thousands
// of clients that leave together must not stand before one that stays.
const crowd = eventsPerWait / 2

// yield makes the stream a patient one if its peer has hung up, and reports whether it is one now.
func (s *Stream) yield(events uint32) bool {
	return events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 && !s.patient && s.SetPatient(true) == nil
}

// PostPatient is Post for what may wait for its turn with the patient streams.
func (l *Loop) PostPatient(f func()) {
	l.Post(func() { l.later = append(l.later, f) })
}

// serve gives the first of those who are patient their turn: mail, which brings logins to their end, before streams.
func (l *Loop) serve() {
	letters := min(patientPerTurn, len(l.later))
	for i, f := range l.later[:letters] {
		l.later[i] = nil
		l.runLetter(f)
	}
	if l.later = l.later[letters:]; len(l.later) == 0 {
		l.later = nil // a storm's queue is not kept
	}
	if letters == patientPerTurn {
		return
	}
	var events [patientPerTurn]unix.EpollEvent
	ready := events[letters:]
	for _, ev := range ready[:pollNow(l.calm, ready)] {
		if s := l.streams[ev.Fd]; s != nil {
			l.dispatch(s, ev.Events)
		}
	}
}
