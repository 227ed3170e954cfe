package frontend

import (
	"sync"

	"pooler/config"
	"pooler/internal/sessionstate"
	"pooler/pool"
)

// kind is clients of whom the configuration says the same, and who have chosen the same at their login.
type kind struct {
	config.Session
	policy   *sessionstate.Policy // nil: the default
	terms    pool.Terms
	purity   config.Purity // chosen, as is boundary
	boundary config.Boundary
}

// kinds keeps one copy of each kind, since thousands of sessions are of the same. Any goroutine may use it.
type kinds struct {
	mu  sync.Mutex
	all map[kind]*kind // without policy and terms
}

// resolve is what the configuration says of such a client.
func (srv *Server) resolve(who config.Client) *kind {
	k := kind{Session: srv.settings.Load().cfg.Session(who), purity: who.Purity, boundary: who.Boundary}
	srv.kinds.mu.Lock()
	defer srv.kinds.mu.Unlock()
	kept := srv.kinds.all[k]
	if kept == nil {
		if srv.kinds.all == nil || len(srv.kinds.all) > maxKinds {
			srv.kinds.all = map[kind]*kind{}
		}
		bare := k
		k.policy = policyOf(k.StatePolicy)
		k.terms = pool.Terms{
			Eager: k.Boundary == config.BoundarySession, New: k.Purity == config.PurityNew,
			Wait: k.QueryWaitTimeout, Notify: k.QueryWaitNotify,
		}
		kept = &k
		srv.kinds.all[bare] = kept
	}
	return kept
}

// maxKinds bounds what is kept: clients choose the names of their classes.
const maxKinds = 10_000

// reconfigure puts a new configuration in force for a session that is connected. While it holds a server session its
// boundary stays: what it has left there was judged by that.
func (s *Session) reconfigure() {
	if s.phase == PhaseClosed {
		return
	}
	who := config.Client{
		Database: s.pool.Key.Database, User: s.pool.Key.User, Source: s.remote().Addr(),
		Class: s.limits.Class, Purity: s.limits.purity, Boundary: s.limits.boundary,
	}
	who.Application, _ = s.base.Value("application_name")
	s.limits = s.srv.resolve(who)
	if s.lease == nil {
		s.boundary = boundaries[s.limits.Boundary]
	}
	s.pool.SetTerms(&s.req, &s.limits.terms)
	s.retune()
	s.lookAgain()
	s.srv.quotas.look(s.counted, &s.limits.Limits, int(s.srv.clients.Load()))
}

var boundaries = map[config.Boundary]sessionstate.Boundary{
	config.BoundaryStatement:   sessionstate.BoundaryStatement,
	config.BoundaryTransaction: sessionstate.BoundaryTransaction,
	config.BoundarySession:     sessionstate.BoundarySession,
}
