package web

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/console"
	"pooler/internal/loop"
	"pooler/pool"
)

// secret is everybody's password. No log line and no answer may have it.
const secret = "S3cret-of-all"

// site is a pooler in this process with its dashboard, as the program has them.
type site struct {
	t       *testing.T
	url     string
	addr    string // of the pooler, for clients
	front   *frontend.Server
	web     *Server
	program *program
	log     *logBuffer
	browser *http.Client // without cookies
}

// openSite starts one. text is the configuration: it may name @users, a file with a user of each kind of secret. With
// databases behind it, it says where they are.
func openSite(t *testing.T, text string, prepare ...func(*Options)) *site {
	t.Helper()
	s := &site{t: t, log: &logBuffer{}, browser: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.program = &program{file: filepath.Join(t.TempDir(), "pooler.toml"), users: usersFile(t), apply: func(*config.Config) error { return nil }}
	s.program.write(t, text)
	if _, err := s.program.Reload(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	l, err := loop.New(log)
	if err != nil {
		t.Fatal(err)
	}
	loops := []*loop.Loop{l}
	pools := pool.NewManager(backend.Dial, loops, log)
	if s.front, err = frontend.New(s.program.Config(), pools, loops, log); err != nil {
		t.Fatal(err)
	}
	s.program.apply = s.front.Configure
	shown := console.SnapshotsOf(s.front, pools, "1.2.3")
	desk := console.New("1.2.3", console.Views(shown), console.NewActions(pools, s.front, s.program), log)
	s.front.SetConsole(desk)
	o := Options{
		Addr: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Ready: s.front.Accepting, Log: log,
		Dashboard: &Dashboard{Console: desk, Door: s.front, Snapshots: shown},
	}
	for _, change := range prepare {
		change(&o)
	}
	if s.web, err = Listen(o); err != nil {
		t.Fatal(err)
	}
	s.web.Serve()
	s.url = "http://" + s.web.Addr().String()
	if err := s.front.Listen(); err != nil {
		t.Fatal(err)
	}
	for _, a := range s.front.Addresses() {
		if _, ok := a.(*net.TCPAddr); ok {
			s.addr = a.String()
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.front.Shutdown(ctx)
		pools.Close()
		s.web.Close()
		l.Stop()
		if strings.Contains(s.log.String(), secret) {
			t.Error("the log has the password")
		}
		if t.Failed() {
			t.Logf("the log:\n%s", s.log.String())
		}
	})
	return s
}

const (
	withTrust = "auth_type = 'trust'\nadmin_users = ['root']\nstats_users = ['looker']\n"
	withSCRAM = "auth_type = 'scram-sha-256'\nauth_file = '@users'\nadmin_users = ['scram', 'clear']\nstats_users = ['looker']\n"
)

// usersFile has users whose names say what is kept of their password.
func usersFile(t *testing.T) string {
	t.Helper()
	sum := md5.Sum([]byte(secret + "hashed"))
	lines := fmt.Sprintf("%q %q\n%q %q\n%q %q\n%q %q\n%q %q\n", "clear", secret, "looker", secret, "stranger", secret,
		"hashed", "md5"+hex.EncodeToString(sum[:]), "scram", scramSecret(t))
	path := filepath.Join(t.TempDir(), "userlist.txt")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func scramSecret(t *testing.T) string {
	t.Helper()
	salt := []byte("0123456789abcdef")
	salted, err := pbkdf2.Key(sha256.New, secret, salt, 4096, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$4096:%s$%s:%s", b64(salt), b64(stored[:]), b64(mac("Server Key")))
}

// program is a console.Program whose configuration is a file. Any goroutine may use it.
type program struct {
	file, users string
	apply       func(*config.Config) error

	mu  sync.Mutex // guards cfg
	cfg *config.Config
}

func (p *program) write(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "@users", p.users)
	if !strings.Contains(text, "[databases") {
		text += "\n[databases.\"*\"]\n"
	}
	if err := os.WriteFile(p.file, []byte("listen_addr = '127.0.0.1'\nunix_socket_dir = ''\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *program) Config() *config.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

func (p *program) Reload(context.Context, string) (console.Changes, error) {
	doc, err := config.ReadDocument(p.file)
	if err != nil {
		return console.Changes{}, err
	}
	cfg, err := doc.Config(frontend.CheckHooks)
	if err != nil {
		return console.Changes{}, err
	}
	cfg.ListenPort = 0 // the kernel chooses
	if err := p.apply(cfg); err != nil {
		return console.Changes{}, err
	}
	p.mu.Lock()
	p.cfg = cfg
	p.mu.Unlock()
	return console.Changes{}, nil
}

func (p *program) Change(context.Context, string, bool, console.Edit) (console.Changes, error) {
	return console.Changes{}, console.ErrInvalid
}

func (p *program) Save(context.Context, string) (console.Changes, error) {
	return console.Changes{}, nil
}
func (p *program) Shutdown(context.Context, console.ShutdownWait, string) {}

// reload puts another configuration in force.
func (s *site) reload(text string) {
	s.t.Helper()
	s.program.write(s.t, text)
	if _, err := s.program.Reload(s.t.Context(), ""); err != nil {
		s.t.Fatal(err)
	}
}

// reply is what the server has answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// json is the body's fields.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(r.body), &fields); err != nil {
		t.Fatalf("%v in %q", err, r.body)
	}
	return fields
}

// send sends a request: a body is posted as the page does. with changes it before.
func (s *site) send(path, body string, with ...func(*http.Request)) reply {
	s.t.Helper()
	method, content := http.MethodGet, io.Reader(nil)
	if body != "" {
		method, content = http.MethodPost, strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("X-Pooler", "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range with {
		change(r)
	}
	resp, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if text := fmt.Sprint(resp.Header) + string(got); strings.Contains(text, secret) {
		s.t.Errorf("%s answers with the password: %s", path, text)
	}
	return reply{resp.StatusCode, resp.Header, string(got)}
}

// login returns what makes a request one of user's session.
func (s *site) login(user, password string) func(*http.Request) {
	s.t.Helper()
	got := s.send("/api/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	if got.status != http.StatusOK {
		s.t.Fatalf("login of %s: %d %s", user, got.status, got.body)
	}
	cookie := got.header.Get("Set-Cookie")
	return header("Cookie", cookie[:strings.IndexByte(cookie, ';')])
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func host(name string) func(*http.Request) {
	return func(r *http.Request) { r.Host = name }
}

// logBuffer keeps what is logged. Any goroutine may use it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually waits for something that is about to happen.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-look.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
	}
}
