package web

import (
	"cmp"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// The headers of every answer. Nothing is loaded from elsewhere, and no script stands in the page itself.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
	"X-Content-Type-Options":  "nosniff",
	"Referrer-Policy":         "no-referrer",
	"X-Frame-Options":         "DENY",

	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// guarded refuses what a page of somebody else's may have made a browser send.
func (a *api) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		if err := cmp.Or(a.checkHost(r), checkPost(r)); err != nil {
			fail(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkHost: where anybody is let in without a password, a name that somebody else has in DNS must not lead here, or his page could
// act as one of ours.
func (a *api) checkHost(r *http.Request) *fault {
	if !a.Door.Trusts() || isOwnHost(hostOf(r.Host), a.listens, localAddress(r)) {
		return nil
	}
	return faultOf(http.StatusForbidden, "this host name is not served while "+trusting,
		"Use localhost or the address in http_listen, or have the pooler ask everybody for a password.")
}

// trusting is why a guard is up: auth_type trust, or a line of auth_hba_file.
const trusting = "the pooler trusts somebody without a password"

// guardMetrics: where somebody is trusted, and nobody but this machine's programs gets here, a page from elsewhere must not
// read the metrics by a name that it has lead here. Programs use an address, or a name of ours.
func guardMetrics(next http.Handler, trusts func() bool, configured string, bound net.Addr) http.Handler {
	local, err := netip.ParseAddrPort(bound.String())
	if err != nil || !local.Addr().IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		if _, err := netip.ParseAddr(host); err != nil && trusts() && !isOwnHost(host, hostOf(configured), local.Addr()) {
			answer(w, http.StatusForbidden, "this host name is not served while "+trusting+": use localhost or the address\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnHost: listens is the host of http_listen, local the address at which the request has come in.
func isOwnHost(host, listens string, local netip.Addr) bool {
	if host == "" {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return addr.IsLoopback() || addr == local || host == listens
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.EqualFold(host, listens)
}

// hostOf is the host of host:port or host, without brackets and in lower case.
func hostOf(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func localAddress(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// checkPost: forms and scripts of other sites can neither set a header nor send JSON without being asked first, which is
// never answered.
func checkPost(r *http.Request) *fault {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if r.Header.Get("X-Pooler") != "1" {
		return faultOf(http.StatusForbidden, "the header X-Pooler: 1 is missing", "It shows that the request comes from no other site's page.")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return faultOf(http.StatusUnsupportedMediaType, "the content type must be application/json", "")
	}
	if origin := r.Header.Get("Origin"); origin != "" && !sameHost(origin, r.Host) {
		return faultOf(http.StatusForbidden, "the request comes from another site", "A proxy in front of the pooler must pass the Host header on.")
	}
	return nil
}

// sameHost tells whether origin, a scheme with host and port, is the site that the Host header names.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return port != "" && strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(host, port))
}
