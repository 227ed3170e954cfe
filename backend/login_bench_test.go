package backend

import (
	"crypto/tls"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pooler/config"
	"pooler/internal/auth"
)

// BenchmarkLogin is what a login at PostgreSQL costs, and of it our part of the processor's time (cpu-µs/op), which
// includes TLS.
func BenchmarkLogin(b *testing.B) {
	pg := protectedServer(b)
	for _, test := range []struct {
		name, user string
		mode       config.TLSMode
		cached     bool
	}{
		{"trust", "postgres", config.TLSDisable, true},
		{"trust,TLS", "postgres", config.TLSVerifyFull, true},
		{"scram,cached", "by_scram", config.TLSDisable, true},
		{"scram", "by_scram", config.TLSDisable, false},
		{"scram-plus,TLS,cached", "by_scram", config.TLSVerifyFull, true},
		{"scram-plus,TLS", "by_scram", config.TLSVerifyFull, false},
	} {
		b.Run(test.name, func(b *testing.B) {
			cfg := poolFor("127.0.0.1", pg.Port)
			cfg.User, cfg.ServerUser, cfg.ServerPassword = test.user, test.user, secret
			cfg.TLS = config.ServerTLS{Mode: test.mode, CAFile: papers.CA.CertFile}
			key, _ := keyOf(cfg)
			made, _, err := key.load()
			if err != nil {
				b.Fatal(err)
			}
			d := NewDialer(nil)
			d.Use(&Loaded{keys: auth.NewKeys(4096, test.cached), configs: map[tlsKey]*tls.Config{key: made}})
			begun := processorTime(b)
			for b.Loop() {
				c, err := d.Dial(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
			b.ReportMetric(float64((processorTime(b)-begun).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
