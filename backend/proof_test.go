package backend

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/pgtest"
)

// Every method of PostgreSQL's takes the right password and no other, with TLS and without.
func TestPasswordsLogIn(t *testing.T) {
	pg := protectedServer(t)
	stored := storedPassword(t, pg, "by_md5")
	for _, test := range []struct {
		name, user, password string
		want                 string // of the error; "" for none
	}{
		{"password", "by_password", secret, ""},
		{"a wrong password", "by_password", "x", "28P01"},
		{"md5", "by_md5", secret, ""},
		{"md5 from its stored form", "by_md5", stored, ""},
		{"a wrong md5", "by_md5", "x", "28P01"},
		{"scram", "by_scram", secret, ""},
		{"a wrong scram", "by_scram", "x", "28P01"},
		{"scram from md5's form", "by_scram", stored, "only an MD5 hash is known"},
		{"password from md5's form", "by_password", stored, "only an MD5 hash is known"},
		{"scram from its stored form", "by_scram", storedPassword(t, pg, "by_scram"), ErrNoPassword.Error()},
		{"nothing for scram", "by_scram", "", ErrNoPassword.Error()},
		{"nothing for password", "by_password", "", ErrNoPassword.Error()},
	} {
		for _, mode := range []config.TLSMode{config.TLSDisable, config.TLSVerifyFull} {
			t.Run(test.name+"/"+string(mode), func(t *testing.T) {
				cfg := poolFor("127.0.0.1", pg.Port)
				cfg.User, cfg.ServerUser, cfg.ServerPassword = test.user, test.user, test.password
				cfg.TLS = config.ServerTLS{Mode: mode, CAFile: papers.CA.CertFile}
				c, err := Dial(t.Context(), cfg)
				if err == nil {
					c.Close()
				}
				switch {
				case (err == nil) != (test.want == ""), err != nil && !strings.Contains(err.Error(), test.want):
					t.Errorf("got %v, want %q", err, test.want)
				case err != nil && test.password != "" && strings.Contains(err.Error(), test.password+"\""):
					t.Error("the error holds the password")
				}
			})
		}
	}
}

func storedPassword(t *testing.T, pg *pgtest.Server, role string) string {
	t.Helper()
	rows, err := pg.Exec(t.Context(), "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = '"+role+"'")
	if err != nil {
		t.Fatal(err)
	}
	return rows[0][0]
}

// What clients' logins have taught logs their own pool in, and is forgotten when PostgreSQL refuses it.
func TestLearnedKeysLogIn(t *testing.T) {
	pg := protectedServer(t)
	s, err := config.ParseSecret(storedPassword(t, pg, "by_scram"))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := s.Verifier()
	salted, err := pbkdf2.Key(sha256.New, secret, v.Salt, v.Iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha256.New, salted)
	m.Write([]byte("Client Key"))
	right := auth.Credential{ClientKey: m.Sum(nil), ServerKey: v.ServerKey}
	wrong := auth.Credential{ClientKey: make([]byte, 32), ServerKey: v.ServerKey}

	cfg := poolFor("127.0.0.1", pg.Port)
	cfg.User, cfg.ServerUser = "by_scram", "by_scram"
	cfg.TLS = config.ServerTLS{Mode: config.TLSRequire}
	ring := auth.NewKeyring()
	d := NewDialer(ring)
	dial := func(cfg config.Pool) error {
		c, err := d.Dial(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial(cfg); !errors.Is(err, ErrNoPassword) {
		t.Errorf("before anything is learned: %v", err)
	}
	ring.Learn(auth.AccountOf(cfg), right)
	if err := dial(cfg); err != nil {
		t.Errorf("with learned keys: %v", err)
	}
	other := cfg
	other.User = "somebody" // whose pool logs in as by_scram
	ring.Learn(auth.AccountOf(other), right)
	if err := dial(other); !errors.Is(err, ErrNoPassword) {
		t.Errorf("keys of another user's login were used: %v", err)
	}
	account := auth.AccountOf(cfg)
	ring.Learn(account, wrong)
	if err := dial(cfg); err != nil {
		t.Errorf("what works was spoilt by what was learned later: %v", err)
	}
	ring.Forget(account)
	ring.Learn(account, wrong)
	configured := cfg
	configured.ServerPassword = secret
	if err := dial(configured); err != nil {
		t.Errorf("a configured password comes first: %v", err)
	}
	var refusal *ServerError
	if err := dial(cfg); !errors.As(err, &refusal) || refusal.Response.Code != "28P01" || !Unproven(err) {
		t.Errorf("with wrong keys: %v", err)
	}
	if _, known := ring.Find(account); known {
		t.Error("keys that PostgreSQL has refused are kept")
	}
	ring.Learn(account, wrong) // as if the password had been changed since they were right
	ring.Accepted(account, wrong)
	ring.Learn(account, right)
	if err := dial(cfg); err != nil {
		t.Errorf("with keys of a changed password and new ones: %v", err)
	}
}

// SCRAM-SHA-256-PLUS is used wherever it can be: somebody in between who has a certificate that we trust is noticed, by
// PostgreSQL.
func TestSCRAMIsBoundToTheChannel(t *testing.T) {
	pg := protectedServer(t)
	for name, test := range map[string]struct {
		shows tls.Certificate
		user  string
		want  string
	}{
		"scram":                    {papers.NextServer().TLS, "by_scram", "channel binding check failed"},
		"the password itself":      {papers.NextServer().TLS, "by_password", ""},
		"scram, the same identity": {papers.Server().TLS, "by_scram", ""},
	} {
		t.Run(name, func(t *testing.T) {
			port := inBetween(t, pg.Port, test.shows)
			cfg := poolFor("127.0.0.1", port)
			cfg.User, cfg.ServerUser, cfg.ServerPassword = test.user, test.user, secret
			cfg.TLS = config.ServerTLS{Mode: config.TLSVerifyFull, CAFile: papers.CA.CertFile}
			c, err := Dial(t.Context(), cfg)
			if err == nil {
				c.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// inBetween is somebody who ends TLS with a certificate of his own and speaks TLS with the server at port.
func inBetween(t *testing.T, port int, shows tls.Certificate) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { spy(nc, AddressOf("127.0.0.1", port).Addr, shows) })
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}

func spy(client net.Conn, addr string, shows tls.Certificate) {
	defer func() { _ = client.Close() }()
	request := make([]byte, len(sslRequest))
	if _, err := io.ReadFull(client, request); err != nil {
		return
	}
	_, _ = client.Write([]byte{'S'})
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if ok, err := askForTLS(server); !ok || err != nil {
		return
	}
	left := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{shows}})
	right := tls.Client(server, &tls.Config{InsecureSkipVerify: true})
	var one sync.WaitGroup
	one.Go(func() {
		_, _ = io.Copy(left, right)
		_ = client.Close()
	})
	_, _ = io.Copy(right, left)
	_ = server.Close()
	one.Wait()
}
