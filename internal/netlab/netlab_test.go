package netlab_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"pooler/internal/netlab"
)

// The test has a lab cut off and connected again in every way, and what was sent meanwhile arrives then.
func TestLabIsCutAndMended(t *testing.T) {
	for _, way := range netlab.Cuts() {
		t.Run(way.Name, func(t *testing.T) {
			lab := netlab.New(t)
			near, far := pair(t, lab)
			exchange(t, near, far, true)
			way.Cut(lab)
			exchange(t, near, far, false)
			way.Mend(lab)
			var b [1]byte
			_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := far.Read(b[:]); err != nil {
				t.Fatalf("after the cut was mended: %v", err)
			}
		})
	}
}

func pair(t *testing.T, lab *netlab.Lab) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(lab.Here.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if far, err = lab.Dial(ctx, ln.Addr().String(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	return near, far
}

func exchange(t *testing.T, near, far net.Conn, arrives bool) {
	t.Helper()
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_ = far.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err := far.Read(b[:])
	if arrives != (err == nil) || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a byte arrives: want %t, got %v", arrives, err)
	}
}
