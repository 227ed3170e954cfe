package frontend

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pooler/internal/hba"
)

// askSystem finds out as which user of this machine the client's process runs, at the other end of a Unix socket.
func (g *greeter) askSystem() {
	c := g.claim
	if g.proxied {
		g.leave(failure(hba.Peer, c.who.User, errors.New("the peer is a proxy")))
		return
	}
	peer, err := unix.GetsockoptUcred(g.stream.Fd(), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		g.leave(failure(hba.Peer, c.who.User, fmt.Errorf("get the credentials of the peer: %w", err)))
		return
	}
	var name string
	g.elsewhere(g.srv.resolving, func(context.Context) { name, err = systemUser(peer.Uid) }, func() {
		if err != nil {
			g.leave(failure(hba.Peer, c.who.User, err))
			return
		}
		g.ifMapped(name, g.proven)
	})
}

func systemUser(uid uint32) (string, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return "", fmt.Errorf("look up user ID %d: %w", uid, err)
	}
	return u.Username, nil
}

// ifMapped goes on with then if somebody known as systemUser elsewhere may be the user, by the rule's map.
func (g *greeter) ifMapped(systemUser string, then func()) {
	c := g.claim
	allowed, need := c.credentials.maps.Allows(c.rule.Map(), systemUser, c.who.User, c.facts.Groups)
	bad := c.mayAsk(need)
	switch {
	case bad != nil:
		g.leave(unchecked(bad))
	case need == hba.NeedGroups:
		g.findGroups(func() { g.ifMapped(systemUser, then) })
	case allowed:
		then()
	default:
		g.leave(failure(c.rule.Method, c.who.User, noMatch(c.rule.Map(), systemUser)))
	}
}

func noMatch(mapName, systemUser string) error {
	if mapName == "" {
		return fmt.Errorf("it is known as %q", systemUser)
	}
	return fmt.Errorf("map %q does not let %q be that user", mapName, systemUser)
}

// allows tells the same to a goroutine, which may wait.
func (c *claim) allows(ctx context.Context, srv *Server, systemUser string) bool {
	for {
		allowed, need := c.credentials.maps.Allows(c.rule.Map(), systemUser, c.who.User, c.facts.Groups)
		if need == hba.NeedNothing {
			return allowed
		}
		err := c.mayAsk(need)
		if err == nil {
			c.facts.Groups, err = srv.rolesOf(ctx, c.current, c.who)
		}
		if err != nil {
			srv.log.WarnContext(ctx, "the roles of a user cannot be found out", "user", c.who.User, "error", err)
			return false
		}
	}
}

// certified is whom the client's certificate, which has been verified, names.
func certified(rule *hba.Rule, cert *x509.Certificate) (string, error) {
	read := commonName
	if rule.ClientDN() {
		read = distinguishedName
	}
	name, err := read(cert.RawSubject)
	switch {
	case err != nil:
		return "", err
	case name == "":
		return "", errors.New("client certificate contains no user name")
	case strings.ContainsRune(name, 0):
		return "", errors.New("the name in the client certificate contains a zero byte")
	}
	return name, nil
}
