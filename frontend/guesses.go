package frontend

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pooler/internal/journal"
)

// guesses bounds how many wrong cancel keys of 4 bytes can be tried from one place: a budget, which fills up again with time.
// Whoever has used it up is not looked at any more, so that a right guess would be none either; those elsewhere are not
// affected. Keys of 32 bytes cannot be guessed: they are looked at whatever neighbours do. It belongs to the loop that accepts.
type guesses struct {
	places map[haunt]*guesser
}

// haunt is a place that guesses may come from: an address, or a user of this machine.
type haunt struct {
	place netip.Addr // not valid: the uid counts
	uid   uint32
}

func (h haunt) String() string {
	if h.place.IsValid() {
		return h.place.String()
	}
	return fmt.Sprintf("unix, uid %d", h.uid)
}

// haunt is where the client is.
func (g *greeter) haunt() haunt {
	h := haunt{place: placeOf(g.remote.Addr())}
	if !h.place.IsValid() {
		if peer, err := unix.GetsockoptUcred(g.stream.Fd(), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			h.uid = peer.Uid
		}
	}
	return h
}

const (
	guessBudget = 20          // wrong keys: a program that cancels what has ended sends right ones
	guessRefill = time.Second // after which one more is allowed
	maxGuessers = 4096        // places that are remembered, of some 100 bytes each
	guessTold   = time.Minute // how often the log hears of the same place
)

// guesser is a place that has sent wrong keys lately. Times are the loop's.
type guesser struct {
	whole time.Duration // when its budget is whole again
	told  time.Duration // when the log was told that it is used up; 0: never
}

// spent tells whether the place has used up its budget.
func (q *guesses) spent(place haunt, now time.Duration) bool {
	g := q.places[place]
	return g != nil && g.whole-now > (guessBudget-1)*guessRefill
}

// wrong takes one off the budget of the place.
func (q *guesses) wrong(place haunt, now time.Duration) {
	g := q.places[place]
	if g == nil {
		if len(q.places) >= maxGuessers {
			q.forgetOne(now)
		}
		if q.places == nil {
			q.places = map[haunt]*guesser{}
		}
		g = &guesser{}
		q.places[place] = g
	}
	g.whole = max(g.whole, now) + guessRefill
}

// forgetOne drops a place, of a few that chance has chosen the one whose budget is nearest to being whole.
func (q *guesses) forgetOne(now time.Duration) {
	var least haunt
	var whole time.Duration
	looks := 0
	for place, g := range q.places {
		if looks == 0 || g.whole < whole {
			least, whole = place, g.whole
		}
		if looks++; looks == 16 || whole <= now {
			break
		}
	}
	delete(q.places, least)
}

// tell reports whether it is time for the log to hear of the place, and takes it that it does.
func (q *guesses) tell(place haunt, now time.Duration) bool {
	g := q.places[place]
	if g == nil || g.told > 0 && now-g.told < guessTold {
		return false
	}
	g.told = now
	return true
}

// cancelFor carries out a cancel request that came from g, unless too many from there were wrong. It gets no answer.
func (g *greeter) cancelFor(key cancelKey) {
	srv, l, now := g.srv, g.loop, g.loop.Now()
	place, guessable := g.haunt(), len(key.secret) < longSecret
	if guessable && srv.guesses.spent(place, now) {
		srv.counters.cancelsIgnored.Add(1)
		srv.noteGuessing(place, now)
		g.leave(io.EOF)
		return
	}
	g.stream.Pause()
	if !srv.cancel(key, func() { l.Post(func() { g.leave(io.EOF) }) }) && guessable {
		srv.guesses.wrong(place, now)
	}
}

// noteGuessing logs and keeps in the journal that cancel requests from there are not looked at.
func (srv *Server) noteGuessing(place haunt, now time.Duration) {
	const reason = "cancel_guessing"
	srv.journal.Note(journal.Event{
		Kind: journal.LimitReached, Reason: reason, Address: sourceName(place.place),
		Detail: "Cancel requests from there are not looked at for now: too many had a wrong key.",
	})
	if srv.guesses.tell(place, now) {
		srv.log.Warn("cancel requests are not looked at for now: too many from there had a wrong key", "remote", place.String())
	}
}
