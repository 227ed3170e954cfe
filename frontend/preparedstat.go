package frontend

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"pooler/backend"
	"pooler/internal/sessionstate"
	"pooler/pool"
)

// PreparedStatements lists the prepared statements of the protocol, those that most clients have named first. It asks
// the loops, so no loop may call it. What a loop does not say in time, or before ctx ends, is missing in the counts.
func (srv *Server) PreparedStatements(ctx context.Context) []PreparedStat {
	servers := map[*sessionstate.Statement]int{}
	conns, err := pool.Inspect(ctx, srv.pools, func(c *backend.Conn) []*sessionstate.Statement { return c.Prepared.All() })
	if err != nil {
		srv.log.WarnContext(ctx, "prepared statements are shown without those of some server sessions", "error", err)
	}
	for _, held := range conns {
		for _, st := range held {
			servers[st]++
		}
	}
	accepted := srv.accepted.list()
	var list []PreparedStat
	for st, holders := range srv.statements.Holders() {
		clients := holders - servers[st] - accepted[st]
		list = append(list, PreparedStat{
			Name: st.Name, Text: sessionstate.Fingerprint(sessionstate.TextOf(st.Body), true, sessionstate.FingerprintShown),
			Types: typesOf(st.Body), Clients: max(0, clients), Servers: servers[st],
		})
	}
	slices.SortFunc(list, func(a, b PreparedStat) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), cmp.Compare(b.Servers, a.Servers), strings.Compare(a.Name, b.Name))
	})
	return list
}

// typesOf is how many parameter types a Parse gives, of which body is what follows the name.
func typesOf(body []byte) int {
	if rest := body[min(len(sessionstate.TextOf(body))+1, len(body)):]; len(rest) >= 2 {
		return int(binary.BigEndian.Uint16(rest))
	}
	return 0
}
