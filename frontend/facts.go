package frontend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"pooler/internal/hba"
)

// What rules ask about and nobody here knows is found out in goroutines: a loop waits for no name server.

const (
	factsAtOnce  = 100             // questions to this system, such as who has a user ID
	namesAtOnce  = 100             // questions to name servers
	namesShare   = 10              // of them, about one place
	waitsAtOnce  = 100             // questions to LDAP servers and to the issuers of tokens
	factsTimeout = 5 * time.Second // for one client's; then its address has no name
	maxHostNames = 10              // of an address that are looked at
)

// inquiry is what has been found out about somebody.
type inquiry struct {
	facts hba.Facts
	asked uint8 // a bit for each hba.Need
}

// mayAsk notes that need is going to be found out. That is done once: an answer that is none must not have it asked for
// again and again.
func (q *inquiry) mayAsk(need hba.Need) error {
	if need == hba.NeedNothing {
		return nil
	}
	bit := uint8(1) << need
	if q.asked&bit != 0 {
		return fmt.Errorf("what was found out (%s) does not do", need)
	}
	q.asked |= bit
	return nil
}

// resolver is what is asked of the name servers.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ resolver = (*net.Resolver)(nil)

// hostNames are the names of an address that lead to it again; others prove nothing, since whoever owns an address may give
// it any name.
func (srv *Server) hostNames(ctx context.Context, addr netip.Addr) []string {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	addr = addr.Unmap().WithZone("")
	proven := []string{}
	if !addr.IsValid() {
		return proven // a proxy does not say where its client is
	}
	names, err := srv.names.LookupAddr(ctx, addr.String())
	if err != nil {
		srv.log.DebugContext(ctx, "a client's address has no name", "address", addr.String(), "error", err)
	}
	for _, name := range names[:min(len(names), maxHostNames)] {
		back, _ := srv.names.LookupNetIP(ctx, "ip", name)
		if slices.ContainsFunc(back, func(a netip.Addr) bool { return a.Unmap() == addr }) {
			proven = append(proven, strings.TrimSuffix(name, "."))
		}
	}
	return proven
}

// interfaces are this machine's addresses and their networks; none when they cannot be had.
func (srv *Server) interfaces(ctx context.Context) []netip.Prefix {
	list, err := hba.Interfaces()
	if err != nil {
		srv.log.WarnContext(ctx, "samehost and samenet fit nobody", "error", err)
	}
	if list == nil {
		list = []netip.Prefix{}
	}
	return list
}

// turn is where goroutines wait for their turn.
type turn interface{ Go(f func()) }

// through runs f in a goroutine when it is its turn. It reports false when the server is stopping.
func (srv *Server) through(at turn, f func()) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining.Load() {
		return false
	}
	srv.background.Add(1)
	at.Go(func() {
		defer srv.background.Done()
		_ = srv.contain(f)
	})
	return true
}

var errPanic = errors.New("a bug, of which the log says more")

// contain runs f, which reads what strangers send. If that panics it returns an error: a bug ends one login, not the process.
func (srv *Server) contain(f func()) (bug error) {
	defer func() {
		if v := recover(); v != nil {
			srv.log.Error("bug: looking into a login panicked; that login has failed, please report this", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			bug = errPanic
		}
	}()
	f()
	return nil
}

// lookUp asks PostgreSQL for a goroutine, which waits for the answer.
func (srv *Server) lookUp(ctx context.Context, q question) finding {
	heard := make(chan finding, 1)
	srv.lookups.loop.Post(func() { srv.lookups.ask(q, func(a finding) { heard <- a }) })
	select {
	case a := <-heard:
		return q.whole(a)
	case <-ctx.Done():
		return finding{err: context.Cause(ctx)}
	}
}
