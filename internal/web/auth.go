package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"pooler/frontend"
)

// visitor is who has sent a request.
type visitor struct {
	pass   *frontend.Pass
	right  frontend.Right // when the request came
	remote netip.AddrPort
}

// application is how the visitors show in the log and to the console.
const application = "dashboard"

func (v *visitor) admin() *frontend.Admin { return v.pass.Admin(v.remote, application) }

// who is what the page is told about its user.
func (v *visitor) who() map[string]string {
	right := "stats"
	if v.right == frontend.RightChange {
		right = "admin"
	}
	return map[string]string{"user": v.pass.User, "right": right}
}

var errNotLoggedIn = faultOf(http.StatusUnauthorized, "you are not logged in", "Log in as a user of admin_users or stats_users.")

// identify finds out who has sent r: by its session, else by HTTP Basic.
func (a *api) identify(r *http.Request) (*visitor, error) {
	now := a.Snapshots.Now()
	if c, err := r.Cookie(a.cookie); err == nil {
		if pass := a.sessions.find(c.Value, remoteOf(r).Addr(), now); pass != nil {
			if right := pass.Right(); right != frontend.RightNone {
				return &visitor{pass, right, remoteOf(r)}, nil
			}
			a.sessions.drop(c.Value, remoteOf(r).Addr())
		}
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return nil, errNotLoggedIn
	}
	pass, err := a.basic(r, user, password, now)
	if err != nil {
		return nil, err
	}
	if right := pass.Right(); right != frontend.RightNone {
		return &visitor{pass, right, remoteOf(r)}, nil
	}
	return nil, errNotLoggedIn // a reload has come between
}

// basic checks a password unless that was done lately. Of many requests with the same one, as a program's at its start, one
// checks it.
func (a *api) basic(r *http.Request, user, password string, now time.Time) (*frontend.Pass, error) {
	who := remoteOf(r).Addr().String() + " " + user // what is right from one address may be refused from another
	known := func() *frontend.Pass {
		if pass := a.verified.find(who, password, now); pass != nil && pass.Right() != frontend.RightNone {
			return pass
		}
		return nil
	}
	if pass := known(); pass != nil {
		return pass, nil
	}
	done, err := a.verified.turn(r.Context(), who, password)
	if err != nil {
		return nil, err
	}
	defer done()
	if pass := known(); pass != nil {
		return pass, nil
	}
	pass, err := a.verify(r, user, password, "basic")
	if err == nil {
		a.verified.add(who, password, pass, now)
	}
	return pass, err
}

// verify checks a password, unless there were too many wrong ones from that address. The log says what has come of it.
func (a *api) verify(r *http.Request, user, password, method string) (*frontend.Pass, error) {
	remote, ctx := remoteOf(r), r.Context()
	log := a.log.With("user", shortened(user), "remote", remote.String(), "method", method)
	if wait := a.throttle.wait(remote.Addr(), user, a.Snapshots.Now()); wait > 0 {
		log.DebugContext(ctx, "dashboard login put off: too many have failed")
		return nil, &fault{
			status: http.StatusTooManyRequests, after: wait, Message: "too many logins from your address, or as that user from there, have failed",
			Hint: "Try again in " + wait.Round(time.Second).String() + ".",
		}
	}
	pass, err := a.Door.VerifyPassword(ctx, frontend.Visitor{User: user, Remote: remote, TLS: r.TLS != nil}, password)
	switch {
	case err == nil:
		if method == "basic" { // which comes again each minute
			log.DebugContext(ctx, "dashboard login")
		} else {
			log.InfoContext(ctx, "dashboard login")
		}
		return pass, nil
	case errors.Is(err, frontend.ErrWrongPassword):
		a.throttle.fail(remote.Addr(), user, a.Snapshots.Now())
		log.InfoContext(ctx, "dashboard login refused", "error", err)
		return nil, faultOf(http.StatusUnauthorized, err.Error(), "")
	case errors.Is(err, frontend.ErrNoConsole):
		log.InfoContext(ctx, "dashboard login refused", "error", err)
		return nil, faultOf(http.StatusForbidden, err.Error(), "It is for users that admin_users or stats_users of the pooler's configuration names.")
	case errors.Is(err, frontend.ErrNotByPassword):
		log.InfoContext(ctx, "dashboard login refused", "error", err)
		return nil, faultOf(http.StatusForbidden, err.Error(), "The pooler's auth_type, or the line of its auth_hba_file for database pooler, that user and your address, says so.")
	}
	if !errors.Is(err, context.Canceled) {
		log.InfoContext(ctx, "dashboard login refused", "error", err)
	}
	return nil, err
}

// loginForm is the body of a login. It is never logged.
type loginForm struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

func (a *api) login(w http.ResponseWriter, r *http.Request) error {
	var form loginForm
	if err := decode(r, &form); err != nil {
		return err
	}
	pass, err := a.verify(r, form.User, form.Password, "password")
	if err != nil {
		return err
	}
	v := &visitor{pass, pass.Right(), remoteOf(r)}
	a.setCookie(w, r, a.sessions.add(pass, remoteOf(r).Addr(), a.Snapshots.Now()), 0)
	return writeJSON(w, r, v.who())
}

func (a *api) logout(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(a.cookie); err == nil {
		a.sessions.drop(c.Value, remoteOf(r).Addr())
	}
	a.setCookie(w, r, "", -1)
	return writeJSON(w, r, struct{}{})
}

func (a *api) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

func (a *api) me(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return writeJSON(w, r, v.who())
}

// remoteOf is where a request comes from. What proxies say about that anybody can say.
func remoteOf(r *http.Request) netip.AddrPort {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
}

// shortened bounds what a name takes in the log.
func shortened(s string) string {
	const most = 63 // of PostgreSQL's names
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// challenged says how to log in to programs that wait to be told. A browser would ask with a dialog of its own.
func challenged(w http.ResponseWriter, r *http.Request, err error) {
	if toFault(err).status == http.StatusUnauthorized && !strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		w.Header().Set("WWW-Authenticate", `Basic realm="pooler", charset="UTF-8"`)
	}
}
