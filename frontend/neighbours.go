package frontend

import (
	"slices"
	"strings"

	"pooler/config"
	"pooler/internal/sessionstate"
	"pooler/pool"
)

// Server sessions that idle in pools are nobody's, so nobody must feel them: they do not keep a database from being
// dropped, renamed or copied, and they do not hold on to defaults that have changed.

// noteNeighbours is called before a statement runs that idle server sessions may be in the way of (they go at once;
// PostgreSQL waits 5 s for that), or that changes what new ones begin with (they are replaced once it has taken
// effect).
func (s *Session) noteNeighbours(t *sessionstate.Text) {
	if t.Details == nil {
		return
	}
	words := t.Details.Words
	mine := s.pool.Config()
	var named []*pool.Pool
	s.srv.pools.Each(func(cfg config.Pool) bool {
		return cfg.Host == mine.Host && cfg.Port == mine.Port &&
			(concerns(words, cfg) || cfg.DBName == mine.DBName && slices.Contains(words, sessionstate.CallbackSchema))
	}, func(p *pool.Pool) { named = append(named, p) })
	if t.Effects&sessionstate.EffectNeighbours != 0 {
		for _, p := range named {
			p.GiveUp()
		}
	}
	if t.Effects&sessionstate.EffectDefaults != 0 {
		s.makeSeldom().atBoundary = func() {
			for _, p := range named {
				p.Renew()
			}
			s.srv.welcomes.forget()
		}
	}
}

// concerns tells whether a statement with these words may be about a pool's database or user. A database that is
// created is a copy of template1 unless it says otherwise.
func concerns(words []string, cfg config.Pool) bool {
	return cfg.DBName == "template1" || slices.Contains(words, cfg.DBName) || slices.Contains(words, cfg.ServerUser) ||
		slices.ContainsFunc(words, func(w string) bool {
			return strings.EqualFold(w, "system") || strings.EqualFold(w, "all") ||
				strings.EqualFold(w, "current_user") || strings.EqualFold(w, "current_role") || strings.EqualFold(w, "session_user")
		})
}
