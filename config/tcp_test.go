package config

import (
	"testing"
	"time"
)

// N of D2: a peer that vanishes is noticed within 30 s by default, in whatever state it is. Both limits must be on, and
// about the same: while data is unacknowledged only the one works, while none is only the other.
func TestDefaultsNoticeADeadPeerWithin30Seconds(t *testing.T) {
	tcp := Default().TCP()
	silent := tcp.Idle + time.Duration(tcp.Count)*tcp.Interval
	if !tcp.Keepalive || silent > 30*time.Second {
		t.Errorf("keepalive notices a silent peer after %s (on: %t), want at most 30s", silent, tcp.Keepalive)
	}
	if tcp.UserTimeout <= 0 || tcp.UserTimeout > 30*time.Second {
		t.Errorf("unacknowledged data is noticed after %s, want at most 30s", tcp.UserTimeout)
	}
	if tcp.UserTimeout < silent-tcp.Interval || tcp.UserTimeout > silent+tcp.Interval {
		t.Errorf("the two limits are %s and %s; the kernel lets tcp_user_timeout decide for both", silent, tcp.UserTimeout)
	}
}
