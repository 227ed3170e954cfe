// Package frontend is the clients' side: listeners, start-up, proof of identity, and the life of a session while it
// relays between its client and the server session that it is lent.
package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/gate"
	"pooler/internal/hba"
	"pooler/internal/journal"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
	"pooler/pool"
)

// Server accepts clients and owns their sessions.
type Server struct {
	log        *slog.Logger
	loops      []*loop.Loop
	pools      *pool.Manager
	settings   atomic.Pointer[current]
	sessions   sessions
	welcomes   welcomes
	accepted   accepted
	learned    learned
	pinned     pinGauges
	customs    customs
	crews      map[*loop.Loop]*crew
	interner   sessionstate.Interner
	kinds      kinds
	quotas     *quotas
	alarms     alarms
	proofs     *gate.Gate // where clients' proofs are looked at
	waits      *gate.Gate // where others are asked about them
	resolving  *gate.Gate // where it is found out who a client is
	naming     *fair      // and what its address is called
	names      resolver
	issuers    *auth.Issuers
	keyring    *auth.Keyring   // what clients' proofs have taught; nil: nothing is kept; set before Listen
	life       context.Context // ends with Shutdown
	endLife    context.CancelFunc
	statements sessionstate.Statements
	farewell   farewell
	clients    atomic.Int64 // connected, logged in or not
	turn       atomic.Uint32
	complained atomic.Int64 // when a hook's failure was logged last, in seconds
	gauges     [phases]atomic.Int64
	counters   counters
	draining   atomic.Bool
	suspension suspension
	gone       chan struct{} // closed when Shutdown is done
	reaper     reaper
	periods    periods
	console    Console // nil: there is none; set before Listen, as is journal
	journal    *journal.Journal
	tracer     func(Trace) // nil: nothing is traced; set before Listen

	greeters greeters // of the first loop, which accepts, as are the next two
	lobby    lobby
	guesses  guesses
	lookups  *lookups

	mu         sync.Mutex // guards what is below
	listeners  []listener
	ticking    chan struct{}  // closed to end the watches over slow logins and over limits
	stopping   bool           // Shutdown has begun
	background sync.WaitGroup // goroutines of the server
}

// listener is one address: the socket, and what accepts on it.
type listener struct {
	socket    net.Listener
	fd        int            // another descriptor of it, for the loop
	accepting *loop.Listener // nil until Serve
}

// current is the configuration in force and what follows from it.
type current struct {
	cfg         *config.Config
	credentials *credentials
	proxies     config.Networks
	tls         *secured // nil: neither clients nor the dashboard have TLS
}

// New makes a server whose sessions live on loops. It accepts nobody before Listen.
func New(cfg *config.Config, pools *pool.Manager, loops []*loop.Loop, log *slog.Logger) (*Server, error) {
	srv := &Server{
		log: log, loops: loops, pools: pools, quotas: newQuotas(), proofs: gate.New(1), waits: gate.New(waitsAtOnce),
		resolving: gate.New(factsAtOnce), naming: newFair(namesAtOnce, namesShare), names: net.DefaultResolver, issuers: auth.NewIssuers(),
		crews: map[*loop.Loop]*crew{}, gone: make(chan struct{}),
	}
	srv.life, srv.endLife = context.WithCancel(context.Background())
	srv.lookups = newLookups(srv, loops[0])
	srv.sessions.keys = newCancelKeys()
	for _, l := range loops {
		srv.crews[l] = newCrew(l)
	}
	if err := srv.Configure(cfg); err != nil {
		return nil, err
	}
	return srv, nil
}

// Configure puts cfg in force for new clients, and for the pools there are. It reads auth_file and
// certificates, and on an error nothing has changed.
func (srv *Server) Configure(cfg *config.Config) error {
	cr, err := srv.loadCredentials(cfg)
	if err != nil {
		return err
	}
	protection, err := newSecured(cfg)
	if err != nil {
		return err
	}
	cr.keys.Configure(cfg.ScramIterations, cfg.ScramKeyCache)
	if cr.file.HasClearText() {
		cr.keys.ExpectClearText()
	}
	before := srv.settings.Swap(&current{cfg: cfg, credentials: cr, proxies: cfg.ProxySources(), tls: protection})
	srv.warnOfCertificate(protection)
	if cr.file != nil {
		for _, w := range cr.file.Warnings {
			srv.log.Warn("auth_file wants a look", "warning", w)
		}
	}
	for _, path := range cr.rules.Secrets() {
		for _, w := range config.Exposed(path, "it holds a password") {
			srv.log.Warn("auth_hba_file wants a look", "warning", w)
		}
	}
	for _, w := range cr.groupless(cfg) {
		srv.log.Warn("auth_hba_file wants a look", "warning", w)
	}
	for _, w := range cr.mapless() {
		srv.log.Warn("auth_ident_file wants a look", "warning", w)
	}
	srv.forgetLearned(before)
	srv.lookups.rolesChanged()
	srv.proofs.SetLimit(proofsAtOnce(cfg.ClientLoginConcurrency))
	srv.keepAlive(cfg.TCP())
	srv.welcomes.forget()
	srv.accepted.forget(&srv.statements)
	srv.pools.Reconfigure(func(k pool.Key) (config.Pool, bool) { return srv.poolConfig(k.Database, k.User) })
	srv.each((*Session).reconfigure)
	if before != nil && before.cfg.ShowLiterals && !cfg.ShowLiterals {
		for _, c := range srv.crews {
			c.loop.Post(c.forgetTexts)
		}
	}
	return nil
}

// keepAlive puts keepalive settings in force for clients that connect from now on.
func (srv *Server) keepAlive(tcp config.TCP) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, l := range srv.listeners {
		if err := backend.SetKeepalive(l.socket, tcp); err != nil {
			srv.log.Warn("keepalive is not set for new clients", "error", err)
		}
	}
}

// poolConfig is the configuration of a pool, with the password to log in to PostgreSQL.
func (srv *Server) poolConfig(database, user string) (cfg config.Pool, ok bool) {
	now := srv.settings.Load()
	if isLookupUser(user) {
		cfg, ok = lookupPool(now.cfg, pool.Key{Database: database, User: user})
	} else {
		cfg, ok = now.cfg.Pool(database, user)
	}
	if ok {
		cfg.ServerPassword = now.credentials.serverPassword(cfg)
	}
	return cfg, ok
}

// Listen is Bind and Serve.
func (srv *Server) Listen() error {
	if err := srv.Bind(); err != nil {
		return err
	}
	return srv.Serve()
}

// Bind opens the configured addresses. Clients can connect from then on, and wait in the kernel's queue for Serve. On an
// error everything opened is closed again.
func (srv *Server) Bind() error {
	cfg := srv.settings.Load().cfg
	for _, addr := range cfg.Listen() {
		if err := srv.listen("tcp", addr); err != nil {
			srv.closeListeners()
			return err
		}
	}
	if cfg.UnixSocketDir != "" {
		path := filepath.Join(cfg.UnixSocketDir, ".s.PGSQL."+strconv.Itoa(cfg.ListenPort))
		if err := srv.listenUnix(path, os.FileMode(cfg.UnixSocketMode)); err != nil {
			srv.closeListeners()
			return err
		}
	}
	return nil
}

// Serve begins to accept on what Bind has opened. On an error that is closed.
func (srv *Server) Serve() error {
	srv.ticking = make(chan struct{})
	srv.background.Go(func() { srv.watchLogins(srv.ticking) })
	srv.background.Go(func() { srv.reap(srv.ticking) })
	srv.background.Go(func() { srv.watchLimits(srv.ticking) })
	srv.periods.older = period{at: time.Now()}
	srv.background.Go(func() { srv.keepPeriods(srv.ticking) })
	accepts := srv.loops[0]
	result := make(chan error, 1)
	accepts.Post(func() { result <- srv.acceptOn(accepts) })
	err := <-result
	if err != nil {
		srv.closeListeners()
	}
	return err
}

// acceptOn runs on the loop that accepts.
func (srv *Server) acceptOn(l *loop.Loop) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for i := range srv.listeners {
		ln := &srv.listeners[i]
		var err error
		ln.accepting, err = l.Listen(ln.fd, func(fd int, remote netip.AddrPort) { srv.greet(l, fd, remote) }, srv.acceptFailed)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", ln.socket.Addr(), err)
		}
	}
	return nil
}

// listenUnix replaces a socket that a pooler which is gone has left behind, but not one that is in use.
func (srv *Server) listenUnix(path string, mode os.FileMode) error {
	if nc, err := net.Dial("unix", path); err == nil {
		_ = nc.Close()
		return fmt.Errorf("listen on %s: another server is using it", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path)
	}
	if err := srv.listen("unix", path); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("unix_socket_mode: %w", err)
	}
	return nil
}

func (srv *Server) listen(network, addr string) error {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false) // it knows neither all keepalive options nor TCP_USER_TIMEOUT
	socket, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	fd, err := loop.DupFd(socket)
	if err == nil {
		tuneListener(fd)
		err = backend.SetKeepalive(socket, srv.settings.Load().cfg.TCP())
	}
	if err != nil {
		_ = socket.Close()
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	srv.mu.Lock()
	srv.listeners = append(srv.listeners, listener{socket: socket, fd: fd})
	srv.mu.Unlock()
	return nil
}

// acceptFailed: out of descriptors, most likely. Those connected go on, those who knock wait in the kernel's queue.
func (srv *Server) acceptFailed(err error) {
	if srv.counters.acceptErrors.Add(1)%1000 == 1 { // it comes again and again until a descriptor is free
		srv.log.Error("cannot accept a client; is the limit on open files too low?", "error", err)
	}
}

// Addresses is where the server listens.
func (srv *Server) Addresses() []net.Addr {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	var all []net.Addr
	for _, l := range srv.listeners {
		all = append(all, l.socket.Addr())
	}
	return all
}

// unauthenticated is how many clients beyond max_client_conn may be connected to be told that there is no room, or to
// cancel a statement.
const unauthenticated = 100

// proofsAtOnce is client_login_concurrency. A proof takes its place only while its sums are done, never while its
// client is awaited. By default half the processors are left to the loops: with as many proofs as processors, a loop
// waits up to 10 ms for its turn (Go's time slice), and clients that are connected wait with it.
func proofsAtOnce(configured int) int {
	if configured > 0 {
		return configured
	}
	return max(1, runtime.GOMAXPROCS(0)/2)
}

// watchLogins ends logins that take too long.
func (srv *Server) watchLogins(stop <-chan struct{}) {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-t.C:
			srv.loops[0].Post(func() {
				srv.expireGreeters(now)
				srv.lookups.sweep()
			})
			srv.watchClients()
		}
	}
}

// newSession makes the session that start asks for. It runs on the session's loop.
func (srv *Server) newSession(start *startup, l *loop.Loop, remote netip.AddrPort) (*Session, error) {
	if srv.draining.Load() {
		return nil, errShuttingDown
	}
	if isLookupUser(start.user) {
		return nil, &Refusal{Code: codeInvalidAuth, Message: fmt.Sprintf("role %q does not exist", start.user)}
	}
	cfg, ok := srv.poolConfig(start.database, start.user)
	if !ok {
		return nil, noSuchDatabase(start.database)
	}
	if refusal := refusedByOrder(srv.pools.Orders(start.database), start.database); refusal != nil {
		return nil, refusal
	}
	who := start.client(remote)
	limits := srv.resolve(who)
	counted, refusal := srv.quotas.take(memberOf(who, limits.Class), &limits.Limits, int(srv.clients.Load()))
	if refusal != nil {
		return nil, refusal
	}
	p, class, err := srv.pools.Join(cfg, limits.Class)
	if err != nil {
		srv.quotas.give(counted, &limits.Limits, int(srv.clients.Load()))
		return nil, err
	}
	srv.learn(p, cfg, start)
	s := &Session{
		srv: srv, pool: p, port: remote.Port(), crew: srv.crews[l], limits: limits, counted: counted,
		boundary: boundaries[limits.Boundary], base: srv.interner.Intern(start.settings),
		untilSample: uint16(1 + rand.N(sampleEvery)), keySize: start.keySize(), provenBy: start.method,
	}
	s.begun = s.crew.now()
	s.walker.Limits = clientLimits
	s.req = pool.Request{
		Borrower: s, Loop: l, Settings: s.base, Class: class, Terms: &limits.terms, Login: true,
	}
	return s, nil
}

// from names a client's address for people.
func from(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix"
	}
	return remote.String()
}

func (srv *Server) clientLeft() { srv.clients.Add(-1) }

func (srv *Server) logConnections() bool    { return srv.settings.Load().cfg.LogConnections }
func (srv *Server) logDisconnections() bool { return srv.settings.Load().cfg.LogDisconnections }

// StopAccepting lets nobody in any more. Those who are connected stay.
func (srv *Server) StopAccepting() {
	srv.draining.Store(true)
	srv.closeListeners()
	srv.loops[0].Post(srv.dismissGreeters)
}

// AwaitClients returns once no client is left but those of the console, or ctx has ended.
func (srv *Server) AwaitClients(ctx context.Context) { srv.waitEmpty(ctx) }

// Shutdown lets nobody in, ends each session as soon as it is between transactions, and after ctx ends the rest; the
// clients of the console come last. Server sessions are left to the pool. It returns how many sessions had to be broken
// off.
func (srv *Server) Shutdown(ctx context.Context) int {
	srv.StopAccepting()
	srv.mu.Lock()
	first := !srv.stopping
	srv.stopping = true
	if first && srv.ticking != nil {
		close(srv.ticking)
	}
	srv.mu.Unlock()
	srv.endLife()
	srv.lookups.loop.Post(srv.lookups.end)
	srv.Resume() // who is suspended would not be heard
	srv.each((*Session).drain)
	srv.waitEmpty(ctx)
	broken := srv.sessions.len()
	srv.each((*Session).leave)
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	srv.waitEmpty(end)
	last, cancelLast := context.WithTimeout(context.Background(), 2*consoleGrace+consoleFarewell)
	defer cancelLast()
	srv.EndConsoles(last)
	srv.background.Wait()
	if first {
		close(srv.gone)
	}
	return broken
}

var errShuttingDown = &Refusal{Code: codeAdminShutdown, Message: "the pooler is shutting down"}

func (srv *Server) dismissGreeters() {
	for g := srv.greeters.first; g != nil; g = srv.greeters.first {
		g.leave(errShuttingDown)
	}
}

func (srv *Server) each(f func(*Session)) {
	for _, s := range srv.sessions.all() {
		s.req.Loop.Post(func() { f(s) })
	}
}

// waitEmpty waits until no client is left, and reports whether that came before ctx ended.
func (srv *Server) waitEmpty(ctx context.Context) bool {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for srv.clients.Load() > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
	}
	return true
}

func (srv *Server) closeListeners() {
	srv.mu.Lock()
	listeners := srv.listeners
	srv.listeners = nil
	srv.mu.Unlock()
	for _, l := range listeners {
		closed := make(chan struct{})
		srv.loops[0].Post(func() {
			if l.accepting != nil {
				l.accepting.Close()
			} else {
				closeFd(l.fd)
			}
			close(closed)
		})
		<-closed
		_ = l.socket.Close()
	}
}

// Accepting tells whether new clients are let in.
func (srv *Server) Accepting() bool { return !srv.draining.Load() }

// Trusts tells whether somebody who comes over the network may be let in without any proof.
func (srv *Server) Trusts() bool {
	return slices.ContainsFunc(srv.settings.Load().credentials.rules.Rules(), func(r *hba.Rule) bool {
		return r.Method == hba.Trust && r.Kind != hba.Local
	})
}

// Config is the configuration in force.
func (srv *Server) Config() *config.Config { return srv.settings.Load().cfg }
