package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/auth"
	"pooler/internal/console"
	"pooler/internal/journal"
	"pooler/internal/loop"
	"pooler/internal/monitor"
	"pooler/internal/tracing"
	"pooler/internal/web"
	"pooler/pool"
)

// instance is a running pooler.
type instance struct {
	log   *slog.Logger
	loops []*loop.Loop
	dial  *backend.Dialer
	pools *pool.Manager
	front *frontend.Server
	seen  *monitor.Monitor // nil with monitor = false
	web   *web.Server      // nil without http_listen
	trace *tracing.Tracer  // nil without trace_endpoint

	trimming sync.WaitGroup
	stopping chan struct{}
}

// start brings up a pooler with ctl's configuration, and has ctl change that from then on. stop ends it.
func start(ctl *control, log *slog.Logger) (_ *instance, err error) {
	cfg := ctl.Config()
	tuneMemory()
	raiseFileLimit(cfg, log)
	growFileTable(cfg)
	in := &instance{log: log, stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			in.stop(0)
		}
	}()
	for range loopCount(cfg.Loops) {
		l, err := loop.New(log)
		if err != nil {
			return nil, fmt.Errorf("start event loop: %w", err)
		}
		in.loops = append(in.loops, l)
	}
	keyring := auth.NewKeyring()
	in.dial = backend.NewDialer(keyring)
	loaded, err := in.dial.Load(cfg)
	if err != nil {
		return nil, err
	}
	in.useForServers(loaded)
	in.pools = pool.NewManager(in.dial.Dial, in.loops, log)
	if in.front, err = frontend.New(cfg, in.pools, in.loops, log); err != nil {
		return nil, err
	}
	in.front.SetKeyring(keyring)
	kept := journal.New()
	in.pools.SetJournal(kept)
	in.front.SetJournal(kept)
	if cfg.TraceEndpoint != "" {
		if in.trace, err = tracing.New(cfg.TraceEndpoint, versionText(), log); err != nil {
			return nil, fmt.Errorf("trace_endpoint: %w", err)
		}
		in.front.SetTracer(in.trace.Note)
	}
	shown := console.SnapshotsOf(in.front, in.pools, versionText())
	shown.Loops, shown.Proofs = len(in.loops), in.front.Proofs
	if cfg.Monitor {
		in.seen = monitor.New(monitor.Snapshots{
			Sources: in.front.Sources, Pools: in.pools.Stats, Suspects: in.front.Suspects, Config: in.front.Config, Now: time.Now,
		}, monitor.Options{HistoryFile: cfg.HistoryFile}, log)
		shown.Monitor = in.seen
	}
	admin := console.New(versionText(), console.Views(shown), console.NewActions(in.pools, in.front, ctl), log)
	in.front.SetConsole(admin)
	ctl.run(in.configure)
	if cfg.HTTPListen != "" {
		if err = in.listenHTTP(cfg.HTTPListen, admin, shown); err != nil {
			return nil, err
		}
	}
	if err = in.front.Bind(); err != nil {
		return nil, err
	}
	if err = in.dropPrivileges(cfg, ctl.path); err != nil { // before anybody is heard; the history file is the account's
		return nil, err
	}
	if err = in.front.Serve(); err != nil {
		return nil, err
	}
	if in.web != nil {
		in.web.Serve()
	}
	if in.seen != nil {
		in.seen.Start()
	}
	in.trimming.Go(in.trim)
	return in, nil
}

// configure puts cfg in force, or changes nothing.
func (in *instance) configure(cfg *config.Config) error {
	loaded, err := in.dial.Load(cfg)
	if err != nil {
		return err
	}
	if err := in.front.Configure(cfg); err != nil {
		return err
	}
	in.useForServers(loaded)
	return nil
}

func (in *instance) useForServers(loaded *backend.Loaded) {
	in.dial.Use(loaded)
	warn(in.log, loaded.Warnings)
}

// listenHTTP opens the address of metrics, health and the dashboard.
func (in *instance) listenHTTP(addr string, admin *console.Console, shown console.Snapshots) error {
	extras := monitor.Extras{Version: versionText(), Events: in.front.Journal().Counts}
	dashboard := &web.Dashboard{Console: admin, Door: in.front, Snapshots: shown}
	if in.seen != nil {
		extras.Leaks, dashboard.Monitor = in.seen.LeakStat, in.seen
	}
	registry, err := monitor.NewRegistry(in.front, in.pools, in.loops, extras)
	if err != nil {
		return err
	}
	options := web.Options{Addr: addr, Registry: registry, Ready: in.front.Accepting, Log: in.log, Dashboard: dashboard}
	if in.front.Config().HTTPTLS {
		options.TLS = in.front.HTTPConfig
	}
	in.web, err = web.Listen(options)
	return err
}

// addresses is where clients can connect.
func (in *instance) addresses() []net.Addr { return in.front.Addresses() }

// stop lets transactions finish for at most wait, then breaks off what is left, and takes everything down.
func (in *instance) stop(wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	close(in.stopping)
	in.trimming.Wait()
	if in.seen != nil {
		in.seen.Close()
	}
	if in.front != nil {
		if broken := in.front.Shutdown(ctx); broken > 0 {
			in.log.WarnContext(ctx, "clients were broken off in their transactions", "clients", broken)
		}
	}
	if in.pools != nil {
		in.pools.Close()
	}
	if in.web != nil {
		in.web.Close() // before the loops, which its snapshots ask
	}
	for _, l := range in.loops {
		l.Stop()
	}
	if in.trace != nil {
		last, cancel := context.WithTimeout(context.Background(), traceFarewell)
		defer cancel()
		if err := in.trace.Close(last); err != nil {
			in.log.WarnContext(last, "the last traces have not reached the collector", "error", err)
		}
	}
}

// traceFarewell is how long a collector may take for the last traces.
const traceFarewell = 2 * time.Second

// loopCount: one event loop relays more than two cores' worth of PostgreSQL can answer, and two loops on a small
// machine only take turns; measured with bench on 2 cores. On larger machines one for four cores.
func loopCount(configured int) int {
	if configured > 0 {
		return configured
	}
	return max(1, runtime.GOMAXPROCS(0)/4)
}

// raiseFileLimit asks for as many descriptors as max_client_conn wants and says so if there are fewer.
func raiseFileLimit(cfg *config.Config, log *slog.Logger) {
	want := uint64(cfg.MaxClientConn) + 1000 // server sessions, listeners, logins under way
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= want {
		return
	}
	limit.Cur = min(want, limit.Max)
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if err != nil || limit.Cur < want {
		log.Warn("the limit on open files is too low for max_client_conn",
			"limit", limit.Cur, "wanted", want, "hint", "raise it (ulimit -n, LimitNOFILE) or lower max_client_conn", "error", errors.Join(err))
	}
}

// growFileTable has the kernel make room for all the clients' descriptors now. It would double its table while they
// come, and in a process with threads each time takes 5 to 15 ms, in which the loop that accepts stands still.
func growFileTable(cfg *config.Config) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	last := min(uint64(cfg.MaxClientConn)+1000, limit.Cur) - 1
	if fd, err := unix.FcntlInt(os.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, int(last)); err == nil {
		_ = unix.Close(fd)
	}
}
