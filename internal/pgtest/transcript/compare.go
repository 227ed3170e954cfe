package transcript

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// firstUserOID is where PostgreSQL begins to number what users create (FirstNormalObjectId, transam.h).
const firstUserOID = 16384

// Compare lists where got differs from want, at most limit places. Apart from what no two sessions have in common
// (process ids, cancel keys, numbers of objects that the script created) everything must be equal. An error without
// a source position (fields F, L, R) is a proxy's own: its severity, code and message must be those of the server.
func Compare(want, got []Answers, limit int) []string {
	var diffs []string
	normWant, normGot := newNormaliser(), newNormaliser()
	for i := range max(len(want), len(got)) {
		if len(diffs) >= limit {
			break
		}
		switch {
		case i >= len(got):
			return append(diffs, want[i].Name+": not reached")
		case i >= len(want):
			return append(diffs, got[i].Name+": not reached by the one to compare with")
		}
		w, g := normWant.all(want[i].Messages), normGot.all(got[i].Messages)
		if i == 0 { // the login: ParameterStatus has no order
			sortParameters(w)
			sortParameters(g)
		}
		if at := differ(w, g); at >= 0 {
			diffs = append(diffs, fmt.Sprintf("%s: message %d of %d differs (got %d):\n\twant %s\n\tgot  %s\n\tall wanted %s\n\tall got    %s",
				want[i].Name, at+1, len(w), len(g), show(w, at), show(g, at), types(w), types(g)))
		}
	}
	return diffs
}

func sortParameters(all []Message) {
	slices.SortStableFunc(all, func(a, b Message) int {
		if a.Type == 'S' && b.Type == 'S' {
			return bytes.Compare(a.Body, b.Body)
		}
		return 0
	})
}

// differ is the index of the first difference, -1 if there is none.
func differ(want, got []Message) int {
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || !same(want[i], got[i]) {
			return i
		}
	}
	return -1
}

func same(want, got Message) bool {
	if want.Type != got.Type {
		return false
	}
	if want.Type == 'E' {
		w, g := fields(want.Body), fields(got.Body)
		if g['F'] == "" {
			return w['S'] == g['S'] && w['V'] == g['V'] && w['C'] == g['C'] && w['M'] == g['M']
		}
	}
	return bytes.Equal(want.Body, got.Body)
}

// fields cuts up the body of an ErrorResponse.
func fields(body []byte) map[byte]string {
	all := map[byte]string{}
	for field := range bytes.SplitSeq(body, []byte{0}) {
		if len(field) > 0 {
			all[field[0]] = string(field[1:])
		}
	}
	return all
}

// show quotes message i.
func show(all []Message, i int) string {
	if i >= len(all) {
		return "nothing"
	}
	body := all[i].Body
	if len(body) > 300 {
		return fmt.Sprintf("%c %q… (%d bytes)", all[i].Type, body[:300], len(body))
	}
	return fmt.Sprintf("%c %q", all[i].Type, body)
}

// types shows the messages by their types, repeated ones with their number.
func types(all []Message) string {
	var b strings.Builder
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n].Type == all[i].Type {
			n++
		}
		b.WriteByte(all[i].Type)
		if n > 1 {
			fmt.Fprintf(&b, "*%d", n)
		}
		b.WriteByte(' ')
		i += n
	}
	return b.String()
}

// normaliser replaces what differs between any two sessions. Numbers of user's objects become the order in which
// they were first seen.
type normaliser struct{ oids map[uint32]uint32 }

func newNormaliser() *normaliser { return &normaliser{oids: map[uint32]uint32{}} }

func (n *normaliser) all(messages []Message) []Message {
	out := make([]Message, len(messages))
	for i, m := range messages {
		out[i] = n.message(m)
	}
	return out
}

func (n *normaliser) message(m Message) Message {
	b := bytes.Clone(m.Body)
	switch {
	case m.Type == 'K':
		b = nil
	case m.Type == 'A' && len(b) >= 4:
		clear(b[:4])
	case m.Type == 'T' && len(b) >= 2:
		n.rowDescription(b[2:])
	case m.Type == 't' && len(b) >= 2:
		for at := 2; at+4 <= len(b); at += 4 {
			n.oid(b[at:])
		}
	}
	return Message{Type: m.Type, Body: b}
}

// rowDescription: each column is a name, the table, the column's number, the type, and eight bytes more.
func (n *normaliser) rowDescription(b []byte) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, 0)
		if end < 0 || len(b) < end+1+18 {
			return
		}
		n.oid(b[end+1:])
		n.oid(b[end+7:])
		b = b[end+1+18:]
	}
}

func (n *normaliser) oid(b []byte) {
	oid := binary.BigEndian.Uint32(b)
	if oid < firstUserOID {
		return
	}
	if n.oids[oid] == 0 {
		n.oids[oid] = firstUserOID + uint32(len(n.oids))
	}
	binary.BigEndian.PutUint32(b, n.oids[oid])
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
