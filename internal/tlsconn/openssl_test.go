package tlsconn_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pooler/internal/pgtest/certs"
	"pooler/internal/tlsconn"
)

// program runs the openssl program, which libpq and PostgreSQL are built on. What it prints goes to lines.
func program(t *testing.T, args ...string) (in io.Writer, lines *bufio.Reader) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatalf("the tests need the openssl program: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	cmd := exec.CommandContext(ctx, path, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, to := io.Pipe()
	cmd.Stdout, cmd.Stderr = to, to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		_ = to.Close()
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		_ = out.Close()
		<-ended
	})
	return stdin, bufio.NewReader(out)
}

// await reads lines until one holds text.
func await(t *testing.T, lines *bufio.Reader, text string) {
	t.Helper()
	var seen strings.Builder
	for {
		line, err := lines.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("openssl does not say %q but\n%s", text, seen.String())
		}
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, want %q, error %v", b[:n], want, err)
	}
}

// suiteArgs has openssl use one cipher suite.
var suiteArgs = map[string][]string{
	"TLSv1.3/TLS_AES_128_GCM_SHA256":        {"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"},
	"TLSv1.3/TLS_AES_256_GCM_SHA384":        {"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"},
	"TLSv1.3/TLS_CHACHA20_POLY1305_SHA256":  {"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
	"TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384": {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	"TLSv1.2/ECDHE-ECDSA-CHACHA20-POLY1305": {"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"},
}

// In s_client and s_server, a line of "K" sends a KeyUpdate that asks for one.
func TestOpenSSLAsTheClient(t *testing.T) {
	set := certs.New(t)
	for name, args := range suiteArgs {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(limit))
			in, out := program(t, append([]string{
				"s_client", "-connect", ln.Addr().String(), "-CAfile", set.CA.CertFile,
				"-verify_return_error", "-verify_hostname", "localhost", "-alpn", "postgresql",
			}, args...)...)
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			_ = nc.SetDeadline(time.Now().Add(limit))
			server, _ := configs(t, set, set.Server())
			fedConn, result, err := feed(nc, server, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := fedConn.(*tlsconn.Conn)
			if c.Layer().String() != name || result.State.NegotiatedProtocol != "postgresql" {
				t.Errorf("negotiated %s, protocol %q", c.Layer(), result.State.NegotiatedProtocol)
			}
			_, _ = io.WriteString(in, "hello\n")
			expect(t, c, "hello\n")
			if strings.HasPrefix(name, "TLSv1.3") {
				for range 3 {
					_, _ = io.WriteString(in, "K\n")
					await(t, out, "KEYUPDATE")
					_, _ = io.WriteString(in, "under new keys\n")
					expect(t, c, "under new keys\n")
					_, _ = io.WriteString(c, "answered under new keys\n")
					await(t, out, "answered under new keys")
				}
				tlsconn.AskForNewKeys(c)
			}
			_, _ = io.WriteString(c, strings.Repeat("x", 100_000)+"\nlast\n")
			await(t, out, "last")
			_, _ = io.WriteString(in, "Q\n")
			if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF { //nolint:errorlint // io.Reader's promise is this very value
				t.Errorf("at the end %d bytes, %v", n, err)
			}
		})
	}
}

func TestOpenSSLAsTheServer(t *testing.T) {
	set := certs.New(t)
	pair := set.Server()
	for name, args := range suiteArgs {
		t.Run(name, func(t *testing.T) {
			in, out := program(t, append([]string{
				"s_server", "-accept", "127.0.0.1:0", "-cert", pair.CertFile, "-key", pair.KeyFile,
				"-num_tickets", "5", "-naccept", "1",
			}, args...)...)
			addr := ""
			for addr == "" {
				line, err := out.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				addr, _ = strings.CutPrefix(strings.TrimSpace(line), "ACCEPT ")
				if !strings.HasPrefix(line, "ACCEPT ") {
					addr = ""
				}
			}
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			_ = nc.SetDeadline(time.Now().Add(limit))
			_, client := configs(t, set, pair)
			c, _, err := tlsconn.Client(chop(nc), client)
			if err != nil {
				t.Fatal(err)
			}
			if c.Layer().String() != name {
				t.Errorf("negotiated %s", c.Layer())
			}
			_, _ = io.WriteString(c, "hello\n")
			await(t, out, "hello")
			_, _ = io.WriteString(in, "hello yourself\n") // behind five tickets
			expect(t, c, "hello yourself\n")
			if strings.HasPrefix(name, "TLSv1.3") {
				_, _ = io.WriteString(in, "K\n")
				_, _ = io.WriteString(c, "after K\n") // its input comes first, and what it says of it is not flushed
				await(t, out, "SSL_do_handshake -> 1")
				_, _ = io.WriteString(in, "under new keys\n")
				expect(t, c, "under new keys\n")
				tlsconn.AskForNewKeys(c)
			}
			_, _ = io.WriteString(c, "answered\n")
			await(t, out, "answered")
			_, _ = io.WriteString(in, "Q\n")
			if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF { //nolint:errorlint // io.Reader's promise is this very value
				t.Errorf("at the end %d bytes, %v", n, err)
			}
		})
	}
}
