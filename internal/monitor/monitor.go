// Package monitor keeps the history of where clients come from and of pools, finds who uses much and who leaks, and turns
// snapshots of the pooler into Prometheus metrics. Nothing here is on the relay's path.
package monitor

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// Snapshots are the functions that tell the monitor what is going on. All may be called by any goroutine but a loop's.
type Snapshots struct {
	Sources func() []frontend.SourceStat
	Pools   func() []pool.Stat
	// Suspects is frontend.Server's. nil: nobody looks for leaks.
	Suspects func(limits frontend.Suspicion, known map[frontend.SessionID]bool) (over []frontend.SessionID, fresh []frontend.ClientInfo)
	Config   func() *config.Config // in force
	Now      func() time.Time
}

// Options are what does not change while it runs.
type Options struct {
	HistoryFile string // "": history ends with the pooler, and after a day
}

// SourceKey is what clients that are counted together have in common.
type SourceKey struct{ Address, Application, User, Database string }

// PoolKey is a pool.
type PoolKey struct{ Database, User string }

// Monitor records where clients come from and what they do, and tells it. Any goroutine may ask it anything.
type Monitor struct {
	src     Snapshots
	log     *slog.Logger
	sources *archive[SourceKey]
	pools   *archive[PoolKey]
	store   *store // nil: there is no file
	leaks   *leakWatch
	sampler sampler

	stop    chan struct{}
	minutes chan struct{} // a minute is over
	done    sync.WaitGroup
}

// New returns a monitor that records nothing until it is started.
func New(src Snapshots, opts Options, log *slog.Logger) *Monitor {
	stored := opts.HistoryFile != ""
	m := &Monitor{
		src: src, log: log,
		sources: newArchive(sourceShape(), stored), pools: newArchive(poolShape(), stored),
		leaks: newLeakWatch(src.Now, log), stop: make(chan struct{}), minutes: make(chan struct{}, 1),
	}
	if stored {
		m.store = newStore(opts.HistoryFile, src.Now, log)
	}
	return m
}

// Start begins to record.
func (m *Monitor) Start() {
	m.run("samples", m.sample)
	if m.src.Suspects != nil {
		m.run("leaks", m.watch)
	}
	if m.store != nil {
		m.run("history file", m.write)
	}
}

// run runs a part of the monitor. A bug in it ends that part and nothing else: clients are served without it.
func (m *Monitor) run(part string, work func()) {
	m.done.Go(func() {
		defer func() {
			if bug := recover(); bug != nil {
				m.log.Error("a bug has ended a part of the monitor, the pooler goes on without it", "part", part, "panic", bug, "stack", string(debug.Stack()))
			}
		}()
		work()
	})
}

// Close ends it, and writes what the file does not have yet. Close it before what it takes snapshots of.
func (m *Monitor) Close() {
	close(m.stop)
	m.done.Wait()
	if m.store != nil {
		m.save(true)
		m.store.close()
	}
}

// write keeps the file. Disks may be slow, so this has a goroutine of its own.
func (m *Monitor) write() {
	m.store.open()
	for {
		select {
		case <-m.stop:
			return
		case <-m.minutes:
			m.save(false)
		}
	}
}

// save writes what waits for the file; with all, also the minute that is not over.
func (m *Monitor) save(all bool) {
	batch := map[string][]record{kindSources: m.sources.takePending(all), kindPools: m.pools.takePending(all)}
	if !m.store.save(batch) {
		m.sources.putBack(batch[kindSources])
		m.pools.putBack(batch[kindPools])
	}
}
