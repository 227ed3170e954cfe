package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/pool"
)

// door is a server that listens nowhere, with a configuration that the test can change.
func door(t *testing.T, text string) (srv *Server, reload func(text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pooler.toml")
	read := func(text string) *config.Config {
		if err := os.WriteFile(file, []byte(text+"\n[databases.\"*\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	log := slog.New(slog.DiscardHandler)
	l, err := loop.New(log)
	if err != nil {
		t.Fatal(err)
	}
	pools := pool.NewManager(backend.Dial, []*loop.Loop{l}, log)
	t.Cleanup(func() {
		pools.Close()
		l.Stop()
	})
	if srv, err = New(read(text), pools, []*loop.Loop{l}, log); err != nil {
		t.Fatal(err)
	}
	return srv, func(text string) {
		if err := srv.Configure(read(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPasswordOpensWhatTheConsoleWouldOpen(t *testing.T) {
	file := authFile(t)
	for _, method := range []string{"trust", "password", "md5", "scram-sha-256"} {
		srv, _ := door(t, fmt.Sprintf("auth_type = %q\nauth_file = %q\nadmin_users = ['clear', 'hashed', 'scram', 'nobody']", method, file))
		for _, user := range []string{"clear", "hashed", "scram", "nobody"} {
			for _, password := range []string{rightPassword, "wrong", "", rightPassword + "\x00", strings.Repeat("x", maxPassword+1)} {
				t.Run(fmt.Sprintf("%s, %s, %.20q", method, user, password), func(t *testing.T) {
					pass, err := srv.VerifyPassword(t.Context(), user, password)
					ok := method == "trust" || password == rightPassword && user != "nobody" && (method != "scram-sha-256" || user != "hashed")
					switch {
					case ok && err != nil:
						t.Errorf("refused: %v", err)
					case ok && pass.Right() != RightChange:
						t.Errorf("right %v", pass.Right())
					case !ok && !errors.Is(err, ErrWrongPassword):
						t.Errorf("got %v, want %v", err, ErrWrongPassword)
					}
				})
			}
		}
	}
}

func TestWhoIsNeitherAdminNorStatsIsToldOnlyWhenHeHasProvenHimself(t *testing.T) {
	srv, _ := door(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q\nstats_users = ['scram']", authFile(t)))
	if pass, err := srv.VerifyPassword(t.Context(), "scram", rightPassword); err != nil || pass.Right() != RightLook {
		t.Errorf("a user of stats_users: %v, %v", pass, err)
	}
	if _, err := srv.VerifyPassword(t.Context(), "clear", rightPassword); !errors.Is(err, ErrNoConsole) {
		t.Errorf("with the right password: %v", err)
	}
	if _, err := srv.VerifyPassword(t.Context(), "clear", "wrong"); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestAReloadChangesWhatAPassIsWorth(t *testing.T) {
	begin := func(method, file, users string) string {
		return fmt.Sprintf("auth_type = %q\nauth_file = %q\n%s", method, file, users)
	}
	file, admin := authFile(t), "admin_users = ['scram']"
	changed := filepath.Join(t.TempDir(), "changed.txt")
	if err := os.WriteFile(changed, []byte("\"scram\" \"another\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, before, after string
		want                Right
	}{
		{"nothing", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, admin), RightChange},
		{"less", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, "stats_users = ['scram']"), RightLook},
		{"no right", begin("scram-sha-256", file, admin), begin("scram-sha-256", file, ""), RightNone},
		{"another secret", begin("scram-sha-256", file, admin), begin("scram-sha-256", changed, admin), RightNone},
		{"passwords are asked for now", begin("trust", file, admin), begin("scram-sha-256", file, admin), RightNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, reload := door(t, c.before)
			pass, err := srv.VerifyPassword(t.Context(), "scram", rightPassword)
			if err != nil {
				t.Fatal(err)
			}
			reload(c.after)
			if got := pass.Right(); got != c.want {
				t.Errorf("right %d, want %d", got, c.want)
			}
		})
	}
}

func TestAPasswordIsNotCheckedForWhoHasGone(t *testing.T) {
	srv, _ := door(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q\nadmin_users = ['scram']", authFile(t)))
	srv.proofs.SetLimit(0) // nobody's turn comes
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := srv.VerifyPassword(ctx, "scram", rightPassword); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	srv.proofs.SetLimit(1)
	srv.draining.Store(true)
	if _, err := srv.VerifyPassword(t.Context(), "scram", rightPassword); !errors.Is(err, errShuttingDown) {
		t.Errorf("while the pooler is stopping: %v", err)
	}
	srv.background.Wait()
}
