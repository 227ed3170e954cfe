// Package netlab gives tests a network that they can break: a namespace of its own, far from here, with a router
// between, all of it in this machine. It needs root and iproute2.
//
//	here (the root namespace) ── veth ── router ── veth ── far
//
// The namespaces have no names: the kernel removes them, with their links and routes, when the process ends, however it
// ends.
package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// TB is the part of testing.TB that this package uses.
type TB interface {
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Helper()
}

// Lab is a far network.
type Lab struct {
	Here netip.Addr // our address on the way to it
	Far  netip.Addr // of the far host

	t           TB
	router, far *os.File // namespaces
	link        string   // our end
}

var labs atomic.Uint32

// New builds a lab, which goes away when the test ends.
func New(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("this test builds network namespaces, which only root may: run it as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatalf("this test needs the program ip: install iproute2, e.g. apt-get install iproute2")
	}
	l := &Lab{t: t}
	t.Cleanup(l.close)
	if err := l.build(labs.Add(1)); err != nil {
		t.Fatalf("network lab: %v", err)
	}
	return l
}

// build makes lab n of this process. Addresses are of 198.18.0.0/15, which RFC 2544 sets aside for tests.
func (l *Lab) build(n uint32) (err error) {
	block := (uint32(os.Getpid())*7 + n) % (1 << 14) * 8 // two networks of four addresses
	at := func(i uint32) netip.Addr {
		a := 198<<24 | 18<<16 | block + i
		return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
	}
	var near, behind netip.Addr
	l.Here, near, behind, l.Far = at(1), at(2), at(5), at(6)
	if l.router, err = newNamespace(); err != nil {
		return err
	}
	if l.far, err = newNamespace(); err != nil {
		return err
	}
	l.link = fmt.Sprintf("lab%d.%d", os.Getpid()%1_000_000, n)
	return errors.Join(
		ip("link add %s type veth peer name near netns %s", l.link, path(l.router)),
		ip("addr add %s/30 dev %s", l.Here, l.link),
		ip("link set %s up", l.link),
		l.routerDo("link add behind type veth peer name eth0 netns %s", path(l.far)),
		l.routerDo("addr add %s/30 dev near", near),
		l.routerDo("addr add %s/30 dev behind", behind),
		l.routerDo("link set near up"),
		l.routerDo("link set behind up"),
		inside(l.router, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }),
		l.farDo("addr add %s/30 dev eth0", l.Far),
		l.farDo("link set eth0 up"),
		l.farDo("link set lo up"),
		l.farDo("route add default via %s", behind),
		ip("route add %s/32 via %s dev %s", l.Far, near, l.link),
	)
}

func (l *Lab) close() {
	if l.link != "" {
		_ = ip("link del %s", l.link) // the namespaces live on as long as sockets in them do
	}
	for _, ns := range []*os.File{l.router, l.far} {
		if ns != nil {
			_ = ns.Close()
		}
	}
}

// Cut is a way to cut the far host off, and to connect it again.
type Cut struct {
	Name      string
	Cut, Mend func(*Lab)
}

// Cuts lists them.
func Cuts() []Cut {
	return []Cut{
		{"link down", (*Lab).LinkDown, (*Lab).LinkUp},
		{"black hole", (*Lab).BlackHole, (*Lab).NoBlackHole},
	}
}

// LinkDown pulls the far host's plug. The router still answers for it: no route to host.
func (l *Lab) LinkDown() { l.must(l.farDo("link set eth0 down")) }

// LinkUp plugs it in again.
func (l *Lab) LinkUp() {
	l.must(l.farDo("link set eth0 up"))
	l.must(l.routerDo("neigh flush dev behind"))
	l.must(l.farDo("route replace default via %s", l.Far.Prev())) // gone with the link
}

// BlackHole has the router drop everything both ways, without a word: what a firewall does.
func (l *Lab) BlackHole() {
	l.must(l.routerDo("route add blackhole %s/32", l.Far))
	l.must(l.routerDo("route add blackhole %s/32", l.Here))
}

// NoBlackHole ends that.
func (l *Lab) NoBlackHole() {
	l.must(l.routerDo("route del blackhole %s/32", l.Far))
	l.must(l.routerDo("route del blackhole %s/32", l.Here))
}

func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Errorf("network lab: %v", err)
	}
}

// Dial connects from the far host to addr. receiveBuffer, if it is not 0, is the size of the socket's.
func (l *Lab) Dial(ctx context.Context, addr string, receiveBuffer int) (nc net.Conn, err error) {
	d := net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error { return setBuffer(c, receiveBuffer) }}
	err = inside(l.far, func() error {
		nc, err = d.DialContext(ctx, "tcp", addr)
		return err
	})
	return nc, err
}

// Listen listens on the far host.
func (l *Lab) Listen() (ln net.Listener, err error) {
	err = inside(l.far, func() error {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(l.Far, 0).String())
		return err
	})
	return ln, err
}

func setBuffer(c syscall.RawConn, size int) error {
	if size == 0 {
		return nil
	}
	var opt error
	err := c.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size) })
	return errors.Join(err, opt)
}

func (l *Lab) routerDo(format string, args ...any) error {
	return inside(l.router, func() error { return ip(format, args...) })
}

func (l *Lab) farDo(format string, args ...any) error {
	return inside(l.far, func() error { return ip(format, args...) })
}

// ip runs the program in the namespace of the calling thread.
func ip(format string, args ...any) error {
	cmd := fmt.Sprintf(format, args...)
	var out bytes.Buffer
	c := exec.Command("ip", strings.Fields(cmd)...)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", cmd, err, strings.TrimSpace(out.String()))
	}
	return nil
}

const threadNamespace = "/proc/thread-self/ns/net"

// newNamespace makes a namespace that lives as long as the file, or something in it.
func newNamespace() (ns *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns, err = os.Open(threadNamespace)
		return err
	})
	return ns, err
}

// inside runs f on a thread that is in ns. The sockets that f makes stay there.
func inside(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which ends with it: it is not fit for anything else.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

// path names a namespace to the program ip.
func path(ns *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()) }
