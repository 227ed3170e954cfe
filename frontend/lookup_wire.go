package frontend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
	"pooler/pool"
)

const (
	maxAnswer  = 1 << 20 // bytes of an answer that are kept
	maxSecret  = 4 << 10 // bytes of a secret
	maxGroups  = 10_000  // roles that somebody may be a member of
	secretRows = 2       // asked for; there must be one at most
)

// groupsQuery lists the roles that a user is a member of, itself first among them, whether it inherits their rights or not,
// as PostgreSQL finds out for a +role of pg_hba.conf (is_member_of_role_nosuper).
const groupsQuery = `WITH RECURSIVE m(oid) AS (
 SELECT u.oid FROM pg_catalog.pg_roles u WHERE u.rolname OPERATOR(pg_catalog.=) $1
 UNION SELECT a.roleid FROM m JOIN pg_catalog.pg_auth_members a ON a.member OPERATOR(pg_catalog.=) m.oid)
SELECT r.rolname FROM m JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) m.oid`

// lookupEntries is what a question owes.
var lookupEntries = []sessionstate.Entry{
	{Kind: sessionstate.KindParse}, {Kind: sessionstate.KindBind}, {Kind: sessionstate.KindExecute}, {Kind: sessionstate.KindSync},
}

// encode is the question with the user as a parameter: no text is put together of what a stranger has sent.
func (q question) encode() []byte {
	query, rows := q.Query, uint32(secretRows)
	if q.groups {
		query, rows = groupsQuery, maxGroups+1
	}
	var out []byte
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: query}, &pgproto3.Bind{Parameters: [][]byte{[]byte(q.user)}},
		&pgproto3.Execute{MaxRows: rows}, &pgproto3.Sync{},
	} {
		var err error
		if out, err = m.Encode(out); err != nil {
			panic("bug: " + err.Error()) // only for messages beyond 2 GB
		}
	}
	return out
}

// read reads PostgreSQL's whole answer.
func (q question) read(b []byte) finding {
	var rows [][][]byte
	for len(b) > 0 {
		size := 0
		if len(b) >= wire.HeaderSize {
			size = wire.FrameSize(b)
		}
		if size < wire.HeaderSize || size > len(b) {
			return finding{err: errors.New("the answer cannot be read")}
		}
		body := b[wire.HeaderSize:size]
		switch b[0] {
		case 'E':
			return q.refused(body)
		case 'D':
			row, ok := cells(body)
			if !ok {
				return finding{err: errors.New("a row of the answer cannot be read")}
			}
			rows = append(rows, row)
		}
		b = b[size:]
	}
	if q.groups {
		return q.readGroups(rows)
	}
	return q.readSecret(rows)
}

// refused is PostgreSQL's error. A name that cannot be text there (22021, 22P05) is nobody's.
func (q question) refused(body []byte) finding {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return finding{err: err}
	}
	if e.Code == "22021" || e.Code == "22P05" {
		return q.nobody()
	}
	return finding{err: &backend.ServerError{Response: &e}}
}

// nobody is the answer about somebody whom PostgreSQL does not know.
func (q question) nobody() finding {
	if q.groups {
		return finding{groups: map[string]bool{}}
	}
	return finding{}
}

// whole makes an error of an answer that says nothing of what was asked: nil roles are such that are not known yet.
func (q question) whole(a finding) finding {
	if q.groups && a.groups == nil && a.err == nil {
		a.err = errors.New("bug: the answer does not say of which roles the user is a member")
	}
	return a
}

func (q question) readSecret(rows [][][]byte) finding {
	switch {
	case len(rows) == 0:
		return finding{}
	case len(rows) > 1:
		return finding{err: errors.New("auth_query has returned several rows for one user")}
	case len(rows[0]) != 2:
		return finding{err: fmt.Errorf("auth_query has returned %d columns; want the user's name and its secret", len(rows[0]))}
	}
	name, secret := rows[0][0], rows[0][1]
	switch {
	case len(secret) == 0: // NULL too: nobody gets in with it
		return finding{}
	case !bytes.Equal(name, []byte(q.user)):
		return finding{err: errors.New("auth_query has returned another user than the one it was asked about")}
	case len(secret) > maxSecret:
		return finding{err: fmt.Errorf("auth_query has returned a secret of more than %d bytes", maxSecret)}
	}
	s, err := config.ParseSecret(string(secret))
	if err != nil {
		return finding{err: fmt.Errorf("auth_query: %w", err)}
	}
	return finding{secret: s}
}

func (q question) readGroups(rows [][][]byte) finding {
	if len(rows) > maxGroups {
		return finding{err: fmt.Errorf("the user is a member of more than %d roles", maxGroups)}
	}
	a := finding{groups: make(map[string]bool, len(rows))}
	for _, row := range rows {
		if len(row) != 1 {
			return finding{err: errors.New("the list of roles cannot be read")}
		}
		a.groups[string(row[0])] = true
	}
	return a
}

// cells takes a DataRow apart; a cell that is NULL is nil.
func cells(body []byte) (row [][]byte, ok bool) {
	if len(body) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	for range n {
		if len(body) < 4 {
			return nil, false
		}
		size := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if size < 0 {
			row = append(row, nil)
			continue
		}
		if size > len(body) {
			return nil, false
		}
		row, body = append(row, body[:size:size]), body[size:]
	}
	return row, true
}

// borrowing is what a borrower has to do that only asks one question: nothing.
type borrowing struct{}

// OnParameter implements backend.Borrower.
func (borrowing) OnParameter(string, string) (told string, tell bool) { return "", false }

// OnTag implements backend.Borrower.
func (borrowing) OnTag([]byte, sessionstate.Entry) {}

// OnHook implements backend.Borrower.
func (borrowing) OnHook(string) {}

// OnReady implements backend.Borrower.
func (borrowing) OnReady(dst []byte, _ byte) (out []byte, hold bool) { return dst, false }

// OwnWords implements backend.Borrower.
func (borrowing) OwnWords(body []byte, _ sessionstate.Entry) []byte {
	return append(wire.AppendHeader(nil, 'E', len(body)), body...)
}

// OnAudited implements backend.Borrower.
func (borrowing) OnAudited(*backend.Report) {}

// OnParsed implements backend.Borrower.
func (borrowing) OnParsed(*sessionstate.Statement, bool) {}

// OnSkipped implements backend.Borrower.
func (borrowing) OnSkipped(sessionstate.Entry) {}

// AnswerFor implements backend.Borrower.
func (borrowing) AnswerFor(dst []byte, _ sessionstate.Entry) []byte { return dst }

// OnServerDrained implements backend.Borrower.
func (borrowing) OnServerDrained() {}

// OnCarried implements backend.Borrower.
func (borrowing) OnCarried(dst []byte) []byte { return dst }

// OnCarryFailed implements backend.Borrower.
func (borrowing) OnCarryFailed([]byte) bool { return false }

// OnCancelConfirmed implements backend.Borrower.
func (borrowing) OnCancelConfirmed() {}

// StillWaiting implements pool.Borrower.
func (borrowing) StillWaiting(int, time.Duration) {}

var _ pool.Borrower = (*lookup)(nil)
