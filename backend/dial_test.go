package backend

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/loop"
	"pooler/internal/netlab"
)

// TCP_USER_TIMEOUT bounds the attempt to connect to a host that has vanished, as it bounds a connection to it.
func TestDialGivesUpAVanishedHost(t *testing.T) {
	lab := netlab.New(t)
	ln, err := lab.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	tcp := config.TCP{Keepalive: true, Idle: time.Second, Interval: time.Second, Count: 1, UserTimeout: 1500 * time.Millisecond}
	addr := ln.Addr().(*net.TCPAddr)
	lab.BlackHole()
	cfg := config.Pool{Host: addr.IP.String(), Port: addr.Port, ConnectTimeout: time.Minute, TCP: tcp}
	for what, connect := range map[string]func() error{
		"a login": func() error {
			_, err := Dial(t.Context(), cfg)
			return err
		},
		"a cancel": func() error {
			return route{addr: Address{"tcp", addr.String()}, tcp: tcp}.cancel([]byte{1}, time.Minute)
		},
	} {
		begun := time.Now()
		if err := connect(); err == nil || time.Since(begun) > 4*time.Second {
			t.Errorf("%s ended after %s: %v", what, time.Since(begun), err)
		}
	}
}

func TestSocketsToServersAreTunedBeforeTheyConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for _, test := range []struct {
		tcp  config.TCP
		want [5]int
	}{
		{config.TCP{Keepalive: true, Idle: 7 * time.Second, Interval: 2 * time.Second, Count: 4, UserTimeout: 15 * time.Second}, [5]int{1, 7, 2, 4, 15000}},
		{config.TCP{UserTimeout: 15 * time.Second}, [5]int{0, 7200, 75, 9, 15000}},
	} {
		nc, err := (&net.Dialer{KeepAlive: -1, Control: tuned(test.tcp)}).Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		socket, err := loop.TakeFd(nc)
		if err != nil {
			t.Fatal(err)
		}
		fd := socket.FD
		var got [5]int
		for i, at := range [5][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			got[i], _ = unix.GetsockoptInt(fd, at[0], at[1])
		}
		_ = unix.Close(fd)
		if got != test.want {
			t.Errorf("keepalive, idle, interval, count, user timeout are %v, want %v (keepalive on: %t)", got, test.want, test.tcp.Keepalive)
		}
	}
}
