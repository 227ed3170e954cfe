package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

// servePgx logs one client in over conn, as far as AuthenticationOk and ReadyForQuery.
func servePgx(conn net.Conn, encrypted bool, begin func(Binding) ([]byte, Proof)) error {
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	var binding Binding
	if encrypted {
		if _, err := b.ReceiveStartupMessage(); err != nil { // SSLRequest
			return err
		}
		if _, err := conn.Write([]byte("S")); err != nil {
			return err
		}
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate()}})
		b, binding = pgproto3.NewBackend(conn, conn), certificateBinding()
	}
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	ask, p := begin(binding)
	for proven := false; !proven; {
		if _, err := conn.Write(ask); err != nil {
			return err
		}
		header := make([]byte, 5)
		if _, err := fullRead(conn, header); err != nil {
			return err
		}
		body := make([]byte, int(header[3])<<8+int(header[4])-4)
		if _, err := fullRead(conn, body); err != nil {
			return err
		}
		var err error
		if ask, proven, err = p.Next(context.Background(), body); err != nil {
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: err.Error()})
			return errors.Join(err, b.Flush())
		}
	}
	if _, err := conn.Write(ask); err != nil {
		return err
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := b.Receive() // Terminate
	return err
}

func fullRead(conn net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = conn.Read(b[n:])
		n += m
	}
	return n, err
}

// pgxLogsIn connects pgx to a server that asks as begin says.
func pgxLogsIn(t *testing.T, encrypted bool, password, options string, begin func(Binding) ([]byte, Proof)) error {
	t.Helper()
	mode := "disable"
	if encrypted {
		mode = "verify-full"
	}
	c, err := pgconn.ParseConfig(fmt.Sprintf("host=localhost user=ann password=%s sslmode=%s %s", password, mode, options))
	if err != nil {
		t.Fatal(err)
	}
	if encrypted {
		leaf, err := x509.ParseCertificate(certificate().Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		c.TLSConfig.RootCAs = x509.NewCertPool()
		c.TLSConfig.RootCAs.AddCert(leaf)
	}
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- servePgx(ours, encrypted, begin) }()
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) { return theirs, nil }
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	conn, err := pgconn.ConnectConfig(t.Context(), c)
	if err == nil {
		_ = conn.Close(t.Context()) // the other end may have hung up
	}
	theirs.Close()
	if s := <-served; err == nil {
		err = s
	}
	return err
}

func TestPgxLogsIn(t *testing.T) {
	keys := NewKeys(testRounds, true)
	for _, secret := range []config.Secret{clearSecret(testPassword), storedSecret(testPassword), md5Of("ann", testPassword)} {
		for _, encrypted := range []bool{false, true} {
			methods := map[string]func(Binding) ([]byte, Proof){
				"password": func(Binding) ([]byte, Proof) { return Password(keys, "ann", secret) },
				"scram":    func(b Binding) ([]byte, Proof) { return SCRAM(keys, "ann", secret, b) },
				"md5":      func(Binding) ([]byte, Proof) { return MD5("ann", secret) },
			}
			for name, begin := range methods {
				can := name == "password" || name == "scram" && secret.Kind != config.SecretMD5 || name == "md5" && secret.Kind != config.SecretSCRAM
				if err := pgxLogsIn(t, encrypted, testPassword, "", begin); (err == nil) != can {
					t.Errorf("%s, %v, TLS %v: %v", name, secret.Kind, encrypted, err)
				}
				if err := pgxLogsIn(t, encrypted, "wrong", "", begin); err == nil {
					t.Errorf("%s, %v, TLS %v: a wrong password is taken", name, secret.Kind, encrypted)
				}
			}
		}
	}
	if err := pgxLogsIn(t, true, testPassword, "channel_binding=require", func(b Binding) ([]byte, Proof) {
		return SCRAM(keys, "ann", storedSecret(testPassword), b)
	}); err != nil {
		t.Errorf("channel_binding=require: %v", err)
	}
	if err := pgxLogsIn(t, true, testPassword, "channel_binding=disable", func(b Binding) ([]byte, Proof) {
		return SCRAM(keys, "ann", storedSecret(testPassword), b)
	}); err != nil {
		t.Errorf("channel_binding=disable: %v", err)
	}
}
