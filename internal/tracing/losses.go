package tracing

import "time"

// losses decides when the log is told of what was lost: at once, and then once a minute while it goes on.
type losses struct {
	told uint64 // of those that were lost
	last time.Time
}

const tellEvery = time.Minute

// due returns how many are to be told of, given how many have been lost in all.
func (l *losses) due(now time.Time, lost uint64) (n uint64) {
	if lost == l.told || !l.last.IsZero() && now.Sub(l.last) < tellEvery {
		return 0
	}
	n = lost - l.told
	l.told, l.last = lost, now
	return n
}

func (t *Tracer) tellLosses(now time.Time) {
	n := t.losses.due(now, t.dropped.Load())
	if n == 0 {
		return
	}
	t.mu.Lock()
	fault := t.fault
	t.fault = nil
	t.mu.Unlock()
	if fault == nil { // they are sent, but others came faster
		t.log.Warn("traces were lost because there were too many", "endpoint", t.endpoint, "lost", n)
		return
	}
	t.log.Warn("traces were lost because they could not be sent", "endpoint", t.endpoint, "lost", n, "error", fault)
}
