package frontend

import (
	"sync/atomic"
	"time"
)

// counters count what has happened since the start.
type counters struct {
	accepted, turnedAway, malformed      atomic.Uint64
	acceptErrors                         atomic.Uint64
	logins, loginsRefused, loginTimeouts atomic.Uint64
	refused                              atomic.Uint64
	cancels, cancelsUnknown              atomic.Uint64
	cancelsIgnored                       atomic.Uint64
	carries, prepares                    atomic.Uint64
	audits, hidden, leaks, pins          atomic.Uint64
	hookFailures                         atomic.Uint64
	queryTimeouts                        atomic.Uint64
	ends                                 [endReasons]atomic.Uint64
	lost                                 lostPeers
	refusedBy                            refusedBy
	loginsBy                             loginCounts
}

// refusedBy counts refused clients by the limit that was reached.
type refusedBy [quotaLogins + 1]atomic.Uint64

func (r *refusedBy) add(limit string) {
	for k := range quotaLogins + 1 {
		if k.String() == limit {
			r[k].Add(1)
		}
	}
}

// Stat is a snapshot of the clients' side.
type Stat struct {
	Clients         int64             // connected, logged in or not
	Sessions        map[string]int64  // logged in, by phase
	Accepted        uint64            // connections
	TurnedAway      uint64            // of those, closed before they had logged in: far beyond max_client_conn
	Malformed       uint64            // of those, that did not speak the protocol
	Logins          uint64            // completed
	LoginsRefused   uint64            // wrong password, no such database, no room
	RefusedByLimit  map[string]uint64 // of those, by the limit on clients that was reached
	LoginTimeouts   uint64            // client_login_timeout
	LoginsBy        map[LoginOutcome]uint64
	RequestsRefused uint64             // no server session to be had in time, or cancelled in the queue
	Cancels         uint64             // cancel requests with a right key
	CancelsUnknown  uint64             // with a wrong one
	CancelsIgnored  uint64             // not looked at, since too many from there had a wrong one
	Carries         uint64             // times that settings were put in force on another server session
	Prepares        uint64             // statements prepared again on another server session
	Audits          uint64             // times that PostgreSQL was asked what a session holds
	HiddenState     uint64             // times that state was found which no statement's text shows
	Leaks           uint64             // of those, on a server session that others had used: contained
	Pins            uint64             // times that a server session was pinned to its client
	HookFailures    uint64             // calls of on_get, on_release or state callbacks that failed
	QueryTimeouts   uint64             // statements cancelled because of query_timeout
	Pinned          map[string]int64   // sessions that are pinned now, by reason
	PinnedSeconds   map[string]float64 // for which sessions have been pinned, by reason, those that are now included
	Ends            map[string]uint64  // sessions ended, by reason
	CertificateEnds time.Time          // when the certificate expires that clients are shown; zero: there is none
	Lost            map[string]uint64  // clients gone without a goodbye, by how that was noticed
}

// Stat takes a snapshot.
func (srv *Server) Stat() Stat {
	c := &srv.counters
	st := Stat{
		Clients: srv.clients.Load(), Sessions: map[string]int64{}, Ends: map[string]uint64{},
		Accepted: c.accepted.Load(), TurnedAway: c.turnedAway.Load(), Malformed: c.malformed.Load(),
		Logins: c.logins.Load(), LoginsRefused: c.loginsRefused.Load(), LoginTimeouts: c.loginTimeouts.Load(),
		RequestsRefused: c.refused.Load(), Cancels: c.cancels.Load(), CancelsUnknown: c.cancelsUnknown.Load(),
		Carries: c.carries.Load(), Prepares: c.prepares.Load(),
		Audits: c.audits.Load(), HiddenState: c.hidden.Load(), Leaks: c.leaks.Load(), Pins: c.pins.Load(),
		HookFailures: c.hookFailures.Load(),
		Lost:         c.lost.stat(), LoginsBy: c.loginsBy.stat(),
	}
	st.Pinned, st.PinnedSeconds = srv.pinned.stat()
	if cert := srv.Certificate(); cert != nil {
		st.CertificateEnds = cert.NotAfter
	}
	st.CancelsIgnored = c.cancelsIgnored.Load()
	st.QueryTimeouts = c.queryTimeouts.Load()
	for p := range PhaseClosed {
		st.Sessions[p.String()] = srv.gauges[p].Load()
	}
	st.RefusedByLimit = map[string]uint64{}
	for k := range quotaLogins + 1 {
		st.RefusedByLimit[k.String()] = c.refusedBy[k].Load()
	}
	for r := range endReasons {
		st.Ends[r.String()] = c.ends[r].Load()
	}
	return st
}

// Proofs is how many clients' proofs may be looked at at once (client_login_concurrency), are, and wait.
func (srv *Server) Proofs() (limit, running, waiting int) {
	running, waiting = srv.proofs.Stat()
	return srv.proofs.Limit(), running, waiting
}
