package frontend

import (
	"strconv"
	"sync"
	"time"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

// welcomes remembers what PostgreSQL reports to a client of a pool with given start-up parameters, so that a login
// needs no server session. What has changed since is told with the first statement. Any goroutine may use it.
type welcomes struct {
	mu    sync.Mutex
	known map[welcomeKey]*sessionstate.Settings
}

type welcomeKey struct {
	pool     pool.Key
	settings *sessionstate.Settings
}

// maxWelcomes bounds the memory; beyond it everything is learned anew.
const maxWelcomes = 10_000

func (w *welcomes) get(p *pool.Pool, settings *sessionstate.Settings) *sessionstate.Settings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[welcomeKey{p.Key, settings}]
}

// forget is for a reload: another server may report other things.
func (w *welcomes) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = nil
}

func (w *welcomes) put(p *pool.Pool, settings, reported *sessionstate.Settings) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil || len(w.known) >= maxWelcomes {
		w.known = map[welcomeKey]*sessionstate.Settings{}
	}
	w.known[welcomeKey{p.Key, settings}] = reported
}

// pausedNotice tells a client that it waits for an administrator rather than for others.
func pausedNotice(waited time.Duration) []byte {
	return wire.AppendError(nil, 'N', "NOTICE", "00000",
		"waiting for "+waited.Round(time.Second).String()+": an administrator has paused the database",
		"The request is carried out when RESUME is given on the pooler's admin console.")
}

// waitNotice tells a client that it is still queued, and how far.
func waitNotice(ahead int, waited time.Duration) []byte {
	return wire.AppendError(nil, 'N', "NOTICE", "00000",
		"waiting for a server session for "+waited.Round(time.Second).String()+"; clients ahead in the queue: "+strconv.Itoa(ahead), "")
}
