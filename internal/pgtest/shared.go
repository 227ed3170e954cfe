package pgtest

import (
	"context"
	"errors"
	"sync"
)

// Shared is one server for all tests of a package, started by the first that asks for it:
//
//	var postgres pgtest.Shared
//
//	func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }
//
//	func TestX(t *testing.T) {
//		dsn := postgres.Server(t).DSN(postgres.Server(t).CreateDatabase(t))
//	}
//
// Tests that kill or restart the server want one of their own, from Start.
type Shared struct {
	Options Options // to be set before the first use

	once   sync.Once
	server *Server
	err    error
}

// Server returns the server, or fails t if it could not be started.
func (s *Shared) Server(t TB) *Server {
	t.Helper()
	s.once.Do(func() {
		// Not t's context: the server serves other tests after it.
		s.server, s.err = Run(context.Background(), s.Options)
	})
	if s.err != nil {
		t.Fatalf("pgtest: %v", s.err)
	}
	return s.server
}

// Close stops the server, if it was ever started. No test may use it afterwards.
func (s *Shared) Close() error {
	s.once.Do(func() { s.err = errors.New("shared server: closed") })
	if s.server == nil {
		return nil
	}
	return s.server.Stop()
}
