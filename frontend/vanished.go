package frontend

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/journal"
	"pooler/internal/loop"
)

// lostPeers counts clients that have gone without a goodbye, by how that was noticed.
type lostPeers [loop.FateOther + 1]atomic.Uint64

func (p *lostPeers) stat() map[string]uint64 {
	st := make(map[string]uint64, len(p))
	for _, f := range loop.Fates() {
		st[f.String()] = p[f].Load()
	}
	return st
}

// noteVanished counts and logs a client that has gone without a goodbye. It is called before what the client held is
// given back.
func (s *Session) noteVanished() {
	e := s.client.Ending()
	s.srv.counters.lost[e.Fate].Add(1)
	open := s.inTransaction()
	running := s.phase == PhaseWaiting || s.lease != nil && !s.lease.Conn.Replies.Idle()
	if e.Fate == loop.FateClosed && !open && !running {
		return // impolite, but nothing was lost
	}
	application, _ := s.req.Settings.Value("application_name")
	args := s.logArgs("application_name", application, "remote", from(s.remote()), "noticed", e.Fate.String(),
		"transaction_open", open, "running", running)
	if e.Silent >= 0 {
		args = append(args, "silent", e.Silent.Round(100*time.Millisecond).String())
	}
	if open {
		args = append(args, "transaction", s.transactionAge().Round(100*time.Millisecond).String())
	}
	if e.Err != nil {
		args = append(args, "error", e.Err)
	}
	s.srv.log.Warn("client vanished", args...)
	detail := "It has gone without a goodbye (" + e.Fate.String() + ")"
	switch {
	case open:
		detail += "; its transaction is rolled back"
	case running:
		detail += " before its request was answered"
	}
	s.report(journal.PeerLost, e.Fate.String(), detail+".")
}

// transactionAge is how long the client's transaction has been open, to a quarter of a second (lookEvery).
func (s *Session) transactionAge() time.Duration {
	now, b := s.crew.now(), s.crew.of(s)
	b.judge(now)
	return now - b.begun
}

// lossOf tells a client what became of the server session that it depended on.
func lossOf(c *backend.Conn) string {
	if c.Ending.Fate.Vanished() {
		return "the server session was lost: PostgreSQL's host does not answer"
	}
	return "the server session was lost"
}

// retune puts the configuration's keepalive and TCP_USER_TIMEOUT in force on the client's socket.
func (s *Session) retune() {
	if !s.remote().IsValid() {
		return // a Unix socket
	}
	tcp := s.srv.settings.Load().cfg.TCP()
	if err := s.client.Retune(func(fd int) error {
		err := backend.TuneSocket(fd, tcp)
		s.srv.spreadProbes(fd, s.remote(), tcp)
		return err
	}); err != nil {
		s.srv.log.Warn("keepalive is not set for a client", s.logArgs("error", err)...)
	}
}

// spreadProbes keeps the kernel from probing thousands of clients that came together at one instant: it would lose
// probes, and each time those of the same clients. Of 10,000 idle clients on the loopback device, whose queue takes
// 1,000 packets (net.core.netdev_max_backlog), 2,900 were given up for dead after 25 s. Clients on this machine cannot
// vanish without a word, so when there are many they are not probed; others are, up to two fifths sooner than the
// configuration says.
func (srv *Server) spreadProbes(fd int, remote netip.AddrPort, tcp config.TCP) {
	switch {
	case !remote.IsValid() || !tcp.Keepalive: // invalid: a Unix socket
	case srv.clients.Load() > probedHere && isHere(fd, remote.Addr()):
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	default:
		idle := int(tcp.Idle / time.Second)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle-rand.N(idle*2/5+1))
	}
}

// probedHere is how many clients there may be for those on this machine to be probed, too: half of what the queue takes.
const probedHere = 500

// isHere tells whether the peer of fd is on this machine, and in this network namespace.
func isHere(fd int, peer netip.Addr) bool {
	if peer.IsLoopback() {
		return true
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch a := own.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr) == peer
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap() == peer
	}
	return false
}
