package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"pooler/frontend"
	"pooler/internal/console"
	"pooler/internal/monitor"
)

// Dashboard is what the page and its API are made of.
type Dashboard struct {
	Console   Console
	Door      Door
	Snapshots console.Snapshots
	Monitor   Monitor // nil: there is none (monitor = false)
}

// Console is a *console.Console.
type Console interface {
	Run(ctx context.Context, who *frontend.Admin, text string) (console.Answer, error)
	Show(ctx context.Context, who *frontend.Admin, sel console.Selection) (a console.Answer, part string, err error)
	ViewHelp(name string) string
}

// Door is a *frontend.Server.
type Door interface {
	VerifyPassword(ctx context.Context, v frontend.Visitor, password string) (*frontend.Pass, error)
	Trusts() bool // somebody may be let in over the network without a proof
}

// Monitor is a *monitor.Monitor.
type Monitor interface {
	Sources(monitor.Range) monitor.Chart
	Pools(monitor.Range) monitor.Chart
	Compare(a, b monitor.Range) []monitor.Difference
	LeakStat() monitor.LeakStat
}

// Bounds of what the API does.
const (
	maxRequests = 64                // at the same time
	maxBody     = 64 << 10          // bytes of a request's
	doLimit     = 110 * time.Second // of a command that waits; the page waits 120 s
)

type api struct {
	*Dashboard
	log      *slog.Logger
	listens  string // the host of http_listen
	cookie   string // its name: cookies do not tell ports apart
	sessions *sessions
	verified *verified
	throttle throttle
	slots    chan struct{} // one for each request under way
	charts   chan struct{} // one for each that is being made
	page     map[string]*asset
	started  time.Time
	present  present
}

// newAPI makes the dashboard for a server that was told to listen on configured, and does so on bound.
func newAPI(d *Dashboard, configured string, bound net.Addr, log *slog.Logger) (*api, error) {
	page, err := loadPage()
	if err != nil {
		return nil, fmt.Errorf("the dashboard's page: %w", err)
	}
	_, port, _ := net.SplitHostPort(bound.String()) // a TCP address always has one
	return &api{
		Dashboard: d, log: log, listens: hostOf(configured), cookie: "pooler_" + port,
		sessions: newSessions(), verified: newVerified(), slots: make(chan struct{}, maxRequests),
		charts: make(chan struct{}, chartsAtOnce), page: page, started: d.Snapshots.Now(),
	}, nil
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/login", a.open(a.login))
	mux.HandleFunc("POST /api/logout", a.open(a.logout))
	mux.HandleFunc("GET /api/me", a.known(a.me))
	mux.HandleFunc("GET /api/show/{view}", a.known(a.show))
	mux.HandleFunc("GET /api/now", a.known(a.now))
	mux.HandleFunc("GET /api/series", a.recorded(a.series))
	mux.HandleFunc("GET /api/compare", a.recorded(a.compare))
	mux.HandleFunc("POST /api/do", a.known(a.do))
	mux.HandleFunc("/api/", a.open(func(_ http.ResponseWriter, r *http.Request) error {
		return faultOf(http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path, "")
	}))
	mux.HandleFunc("/", a.servePage)
	return contained(a.guarded(mux), a.log)
}

// open is a handler for everybody.
func (a *api) open(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := readBody(w, r); err != nil { // first: who sends it slowly takes nobody's place
			fail(w, err)
			return
		}
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			fail(w, &fault{status: http.StatusServiceUnavailable, after: time.Second, Message: "too many requests at the same time"})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if err := handle(w, r); err != nil {
			fail(w, err)
		}
	}
}

// known is a handler for those who have logged in.
func (a *api) known(handle func(http.ResponseWriter, *http.Request, *visitor) error) http.HandlerFunc {
	return a.open(func(w http.ResponseWriter, r *http.Request) error {
		v, err := a.identify(r)
		if err != nil {
			challenged(w, r, err)
			return err
		}
		return handle(w, r, v)
	})
}

// show serves one view.
func (a *api) show(w http.ResponseWriter, r *http.Request, v *visitor) error {
	p := r.URL.Query()
	sel := console.Selection{View: r.PathValue("view"), Columns: p.Get("columns"), Where: p.Get("where"), Order: p.Get("order"), Limit: p.Get("limit")}
	format, err := formatOf(p.Get("format"))
	if err != nil {
		return err
	}
	shown, part, err := a.Console.Show(r.Context(), v.admin(), sel)
	if err != nil {
		return toFault(err).in(part)
	}
	writeTable(w, r, format, &table{
		Name: sel.View, Help: a.Console.ViewHelp(sel.View), Columns: shown.Columns, Rows: shown.Rows, Time: a.Snapshots.Now(),
	})
	return nil
}

// order is the body of a request to do something.
type order struct {
	Command string `json:"command"`
}

// do carries out one command. It ends with the request, as one on the console does with its client.
func (a *api) do(w http.ResponseWriter, r *http.Request, v *visitor) error {
	var o order
	if err := decode(r, &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), doLimit)
	defer cancel()
	conn := http.NewResponseController(w) // whose deadlines would end the wait; errors mean that there are none
	_, _ = conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Now().Add(doLimit+writeTimeout))
	done, err := a.Console.Run(ctx, v.admin(), o.Command)
	if err != nil {
		f := toFault(err).in("command")
		if f.SQLState == "57014" && errors.Is(ctx.Err(), context.DeadlineExceeded) { // nobody has canceled it
			f.Message = fmt.Sprintf("the dashboard waits %.0f s at most, and the command was not done by then", doLimit.Seconds())
			f.Hint = strings.TrimSpace(f.Hint + " Give it on the console, which waits as long as you do.")
		}
		return f
	}
	return writeDone(w, r, &done)
}

// readBody has the body of r in memory.
func readBody(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return faultOf(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have %d bytes", maxBody), "")
	case err != nil:
		return badRequest("the body has not come")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// decode reads the body of a request as one JSON object with no other fields than into has. What is wrong with it is not
// said: that might repeat a password.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if d.Decode(into) != nil {
		return badRequest("the body is not the JSON that is wanted")
	}
	if _, more := d.Token(); !errors.Is(more, io.EOF) {
		return badRequest("the body must be one JSON object")
	}
	return nil
}
