package backend

import "sync"

// oldServer is a server as it was heard: in clear somebody else may have spoken, which must not weaken what TLS protects.
type oldServer struct {
	at      Address
	inClear bool
}

// maxOldServers bounds what is remembered. One that is forgotten takes two connections for its next login, no more.
const maxOldServers = 1000

// oldServers are those that have refused to hear of protocol 3.2, as PostgreSQL before 9.3.22 and some proxies do. The
// others take it or negotiate it down. Any goroutine may use it.
type oldServers struct {
	mu    sync.Mutex
	known map[oldServer]struct{}
}

func (o *oldServers) has(a oldServer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, old := o.known[a]
	return old
}

func (o *oldServers) add(a oldServer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= maxOldServers {
		o.known = map[oldServer]struct{}{}
	}
	o.known[a] = struct{}{}
}

func (o *oldServers) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known = nil
}
