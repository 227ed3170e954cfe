package frontend

import (
	"math/bits"
	"sync"
	"time"

	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// pinning is why and since when a server session cannot leave its client.
type pinning struct {
	pins    sessionstate.PinSet
	since   time.Time
	begun   time.Duration // the same, on the crew's clock
	text    string        // the statement that pinned it without its constants, if it is known
	noticed bool          // it is in the journal
}

// notePins keeps s.pinned, and what is counted, in step with s.pins. text is the statement that may have changed them.
func (s *Session) notePins(text []byte) {
	var before sessionstate.PinSet
	if s.pinned != nil {
		before = s.pinned.pins
	}
	if before == s.pins {
		return
	}
	s.srv.pinned.change(before, s.pins)
	switch {
	case s.pins == 0:
		s.pinned = nil
		return
	case before == 0:
		s.pinned = &pinning{since: time.Now(), begun: s.crew.now(), text: sessionstate.Fingerprint(text, true, sessionstate.FingerprintShown)}
		s.srv.counters.pins.Add(1)
		s.crew.statements.pinned(s.pinned.text)
	}
	s.pinned.pins = s.pins
	s.srv.log.Debug("a server session is pinned to its client", s.logArgs("reason", s.pins.String())...)
}

// pinGauges counts the sessions that are pinned, and for how long they have been, by reason. Any goroutine may use it.
type pinGauges struct {
	mu sync.Mutex // guards by
	by [64]pinGauge
}

// pinGauge is of one reason.
type pinGauge struct {
	sessions int64
	micros   int64 // how long sessions were pinned; of those that are now, less the moment when that began. Nanoseconds would not last
}

func (g *pinGauges) change(before, now sessionstate.PinSet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Since(loop.Epoch()).Microseconds()
	for changed := before ^ now; changed != 0; changed &= changed - 1 {
		of := &g.by[bits.TrailingZeros64(uint64(changed))]
		if now&changed&-changed != 0 {
			of.sessions++
			of.micros -= at
		} else {
			of.sessions--
			of.micros += at
		}
	}
}

func (g *pinGauges) stat() (sessions map[string]int64, seconds map[string]float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Since(loop.Epoch()).Microseconds()
	sessions, seconds = map[string]int64{}, map[string]float64{}
	for _, p := range sessionstate.PinReasons() {
		of := g.by[bits.TrailingZeros64(uint64(p))]
		sessions[p.String()] = of.sessions
		seconds[p.String()] = float64(of.micros+of.sessions*at) / 1e6
	}
	return sessions, seconds
}
