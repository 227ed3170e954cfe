package loop

import (
	"testing"
	"unsafe"
)

// Each client and each server session has one, most of them idle.
func TestAStreamIsSmall(t *testing.T) {
	const before = 56 // without TLS
	if n := unsafe.Sizeof(Stream{}); n > before+8 {
		t.Errorf("a stream has %d bytes", n)
	}
	if n := unsafe.Sizeof(veil{}); n > 80 {
		t.Errorf("TLS adds %d bytes to a stream, besides the layer", n)
	}
}
