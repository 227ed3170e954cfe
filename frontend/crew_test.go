package frontend

import (
	"testing"
	"time"

	"pooler/config"
	"pooler/internal/loop"
)

// Idle clients must cost next to nothing, with and without limits: a look comes four times a second.
func BenchmarkLookAtIdleClients(b *testing.B) {
	c := newCrew(&loop.Loop{})
	for range 10_000 {
		s := &Session{phase: PhaseIdle, limits: &kind{Session: config.Session{IdleTimeout: time.Hour}}}
		c.join(s)
		of := c.of(s)
		of.does, of.seen, of.due = doesNothing, of.heard, time.Hour
	}
	for b.Loop() {
		c.look()
	}
}

// Sessions come and go in any order, and each finds its own berth.
func TestCrewKeepsBerthsApart(t *testing.T) {
	c := &crew{}
	var all []*Session
	for range 1000 {
		s := &Session{crew: c}
		c.join(s)
		all = append(all, s)
	}
	for i, s := range all {
		if i%3 != 0 {
			c.leave(s)
			s.phase = PhaseClosed
		}
		s.hear()
	}
	for i, s := range all {
		if i%3 == 0 && (c.of(s).session != s || c.of(s).heard != 2) {
			t.Fatalf("session %d has the berth %+v", i, c.of(s))
		}
	}
	if len(c.berths) != 334 || c.members.Load() != 334 {
		t.Errorf("%d berths, %d members", len(c.berths), c.members.Load())
	}
}
