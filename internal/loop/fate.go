package loop

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Fate says how the end of a connection was noticed. It is a log value and a metric label.
type Fate uint8

// The fates.
const (
	FateClosed      Fate = iota // the peer has closed it
	FateReset                   // the peer has broken it off, also by an alert of TLS, or knows nothing of it any more
	FateKeepalive               // probes of a silent connection were not answered
	FateUserTimeout             // what was sent was not acknowledged
	FateUnreachable             // the network says that there is no way to the peer
	FateOther
	fates
)

var fateNames = [fates]string{"closed", "reset", "keepalive", "user_timeout", "unreachable", "other"}

// String is the fate as logs and metrics show it.
func (f Fate) String() string { return fateNames[f] }

// Vanished tells that the peer did not end the connection itself.
func (f Fate) Vanished() bool { return f > FateReset }

// Fates lists every fate, for metrics that show zeros too.
func Fates() []Fate {
	all := make([]Fate, 0, fates)
	for f := range fates {
		all = append(all, f)
	}
	return all
}

// Ending is what is known of how a connection came to its end.
type Ending struct {
	Fate   Fate
	Err    error         // the kernel's word or TLS's, nil if there is none
	Silent time.Duration // since the peer's last byte; negative: not known (a Unix socket)
}

// Ending tells how the connection has ended. It is for handlers that were told of the end, before they close the
// stream: the kernel forgets it with the socket.
func (s *Stream) Ending() Ending {
	e := Ending{Silent: -1}
	errno := syscall.Errno(s.lost)
	if errno == 0 && s.loop != nil {
		if n, err := unix.GetsockoptInt(int(s.fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil {
			errno = syscall.Errno(n)
		}
	}
	if errno != 0 {
		e.Err = errno
	}
	var info *unix.TCPInfo
	if s.loop != nil {
		if i, err := unix.GetsockoptTCPInfo(int(s.fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			info, e.Silent = i, time.Duration(i.Last_data_recv)*time.Millisecond
		}
	}
	e.Fate = fateOf(errno, info)
	if fault := s.fault(); fault != nil {
		e.Err, e.Fate = fault, FateOther
		if fault.Remote {
			e.Fate = FateReset
		}
	}
	return e
}

// fateOf judges by the error and by what the kernel was doing when it gave up. The error alone does not tell: when a
// timer ends a connection it is the last thing the network has said (no route to host, invalid argument), if anything.
func fateOf(errno syscall.Errno, info *unix.TCPInfo) Fate {
	switch {
	case errno == 0:
		return FateClosed
	case errno == unix.ECONNRESET, errno == unix.EPIPE, errno == unix.ECONNABORTED:
		return FateReset
	case info != nil && (info.Retransmits > 0 || info.Notsent_bytes > 0):
		return FateUserTimeout
	case info != nil && info.Probes > 0, errno == unix.ETIMEDOUT:
		return FateKeepalive
	case errno == unix.EHOSTUNREACH, errno == unix.ENETUNREACH:
		return FateUnreachable
	}
	return FateOther
}
