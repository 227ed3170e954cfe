package frontend

import (
	"sync/atomic"
	"time"

	"pooler/internal/sessionstate"
)

// pinning is why and since when a server session cannot leave its client.
type pinning struct {
	pins  sessionstate.PinSet
	since time.Time
	text  string // the statement that pinned it without its constants, if it is known
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
		s.pinned = &pinning{since: time.Now(), text: sessionstate.Fingerprint(text, true, sessionstate.FingerprintShown)}
		s.srv.counters.pins.Add(1)
		s.crew.statements.pinned(s.pinned.text)
	}
	s.pinned.pins = s.pins
	s.srv.log.Debug("a server session is pinned to its client", s.logArgs("reason", s.pins.String())...)
}

// pinGauges counts the sessions that are pinned, by reason. Any goroutine may use it.
type pinGauges [64]atomic.Int64

func (g *pinGauges) change(before, now sessionstate.PinSet) {
	for bit := range g {
		p := sessionstate.PinSet(1) << bit
		switch {
		case before&p == now&p:
		case now&p != 0:
			g[bit].Add(1)
		default:
			g[bit].Add(-1)
		}
	}
}

func (g *pinGauges) stat() map[string]int64 {
	by := map[string]int64{}
	for _, p := range sessionstate.PinReasons() {
		for bit := range g {
			if p == sessionstate.PinSet(1)<<bit {
				by[p.String()] = g[bit].Load()
			}
		}
	}
	return by
}
