package journal

import (
	"time"
	"unique"
)

// step is an Establishment as it is kept: in 72 bytes, since there are thousands, and their origins are few.
type step struct {
	seq            uint64
	at             int64 // nanoseconds since 1970
	age            time.Duration
	client, server uint64
	origin         unique.Handle[origin]
	cause          string
	reuses         uint32
	port           uint16
	side           Side
	action         Action
}

// origin is few things many times. What is made unique gets memory of its own.
type origin struct{ address, application, user, database string }

func stepOf(e *Establishment) step {
	return step{
		at: e.Time.UnixNano(), age: e.Age, client: e.Client, server: e.Server,
		origin: unique.Make(origin{cut(e.Address), cut(e.Application), cut(e.User), cut(e.Database)}),
		cause:  own(e.Cause), reuses: uint32(min(e.Reuses, 1<<32-1)), port: e.Port, side: e.Side, action: e.Action,
	}
}

func (s *step) establishment() Establishment {
	from := s.origin.Value()
	return Establishment{
		Seq: s.seq, Time: time.Unix(0, s.at), Side: s.side, Action: s.action,
		Address: from.address, Port: s.port, Application: from.application, User: from.user, Database: from.database,
		Client: s.client, Server: s.server, Cause: s.cause, Age: s.age, Reuses: uint64(s.reuses),
	}
}
