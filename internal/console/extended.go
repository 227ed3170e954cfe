package console

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Bounds of what a session can make us keep.
const (
	maxPrepared = 1000
	maxTexts    = 1 << 20 // bytes of all that is prepared
	maxPortals  = 100
	maxBound    = 4 << 20   // bytes of all parameters of portals, more than one message can have
	maxCells    = 2_000_000 // values, of all that waits to be fetched from portals
)

// prepared is a statement of the extended protocol.
type prepared struct {
	text    string
	stmt    statement // nil: an empty text
	columns []Column
	types   []Type   // of parameters
	oids    []uint32 // as they are announced
}

// size is about how many bytes it takes: a short text can speak of many columns and parameters.
func (p *prepared) size() int { return len(p.text) + 24*len(p.columns) + 5*len(p.types) }

// portal is a prepared statement with its parameters, and what it has led to.
type portal struct {
	*prepared
	params  *params
	bound   int // bytes of the parameters
	formats []int16
	out     *outcome // nil: not run yet; its rows are those that have not been sent
	done    bool
}

// extended ends the answer to a message of the extended protocol.
func (s *session) extended(err error) {
	if err != nil {
		s.fail(err)
		s.skipping = true
		s.flush() // as PostgreSQL does
	}
}

func (s *session) sync() {
	s.skipping = false
	if s.tx == 'I' {
		clear(s.portals)
	}
	s.ready()
}

// parse prepares a statement. Its names and types are settled here, so that it can be described.
func (s *session) parse(m *pgproto3.Parse) error {
	if m.Name == "" {
		s.forget("")
	} else if s.prepared[m.Name] != nil {
		return &Error{Code: codeDuplicateStatement, Message: fmt.Sprintf(`prepared statement "%s" already exists`, shortened(m.Name))}
	}
	list, err := parse(m.Query)
	if err != nil {
		return err
	}
	if len(list) > 1 {
		return &Error{Code: codeSyntax, Message: "cannot insert multiple commands into a prepared statement"}
	}
	p := &prepared{text: m.Query}
	if len(list) == 1 {
		p.stmt = list[0]
	}
	if err := s.settle(p, m.ParameterOIDs); err != nil {
		return err
	}
	if len(s.prepared) >= maxPrepared || s.texts+p.size() > maxTexts {
		return &Error{
			Code: codeLimitExceeded, Message: "too many prepared statements",
			Hint: fmt.Sprintf("A session of the console can have %d, of %d bytes altogether.", maxPrepared, maxTexts),
		}
	}
	s.prepared[m.Name] = p
	s.texts += p.size()
	s.put(&pgproto3.ParseComplete{})
	return nil
}

// settle finds the columns of a statement, and the types of its parameters that the client has not declared.
func (s *session) settle(p *prepared, declared []uint32) error {
	types := &params{}
	for i, oid := range declared {
		t, ok := typeOfOID(oid)
		if !ok {
			return &Error{Code: codeIndeterminate, Message: fmt.Sprintf("parameter $%d has a type that the console does not know (OID %d)", i+1, oid)}
		}
		types.types = append(types.types, t)
	}
	if p.stmt != nil {
		if err := s.refuseInFailed(p.stmt); err != nil {
			return err
		}
		err := s.contain(func() (err error) {
			p.columns, err = p.stmt.columns(s, types)
			return err
		})
		if err != nil {
			return err
		}
	}
	p.types = types.types
	p.oids = make([]uint32, len(p.types))
	for i, t := range p.types {
		if i < len(declared) && declared[i] != 0 {
			p.oids[i] = declared[i]
		} else {
			p.oids[i] = announced(t)
		}
	}
	return nil
}

// announced is the type that a client is told to send: wide enough for all it may want to compare.
func announced(t Type) uint32 {
	if t == Int4 {
		t = Int8
	}
	if t == interval {
		t = Text
	}
	return t.oid()
}

func (s *session) bind(m *pgproto3.Bind) error {
	p := s.prepared[m.PreparedStatement]
	if p == nil {
		return noSuchStatement(m.PreparedStatement)
	}
	if m.DestinationPortal != "" && s.portals[m.DestinationPortal] != nil {
		return &Error{Code: codeDuplicateCursor, Message: fmt.Sprintf(`cursor "%s" already exists`, shortened(m.DestinationPortal))}
	}
	delete(s.portals, m.DestinationPortal)
	po := &portal{prepared: p, bound: boundBytes(m), formats: append([]int16{}, m.ResultFormatCodes...)}
	if len(s.portals) >= maxPortals || s.allBound()+po.bound > maxBound {
		return &Error{
			Code: codeLimitExceeded, Message: "too many portals",
			Hint: fmt.Sprintf("A session of the console can have %d, with parameters of %d bytes altogether.", maxPortals, maxBound),
		}
	}
	if err := s.checkBind(p, m); err != nil {
		return err
	}
	var err error
	if po.params, err = s.arguments(p, m); err != nil {
		return err
	}
	if p.stmt != nil {
		if err := s.refuseInFailed(p.stmt); err != nil {
			return err
		}
		// Parameters that cannot be read as what they are compared with are an error here, as in PostgreSQL.
		err := s.contain(func() error {
			_, err := p.stmt.columns(s, po.params)
			return err
		})
		if err != nil {
			return err
		}
	}
	s.portals[m.DestinationPortal] = po
	s.put(&pgproto3.BindComplete{})
	return nil
}

// boundBytes is about how many bytes the parameters of m take.
func boundBytes(m *pgproto3.Bind) int {
	const each = 40 // of a value's type and place
	n := each * len(m.Parameters)
	for _, raw := range m.Parameters {
		n += len(raw)
	}
	return n
}

func (s *session) allBound() (n int) {
	for _, po := range s.portals {
		n += po.bound
	}
	return n
}

func (s *session) checkBind(p *prepared, m *pgproto3.Bind) error {
	if len(m.Parameters) != len(p.types) {
		return violation("bind message supplies %d parameters, but the prepared statement requires %d", len(m.Parameters), len(p.types))
	}
	if n := len(m.ParameterFormatCodes); n > 1 && n != len(m.Parameters) {
		return violation("bind message has %d parameter formats but %d parameters", n, len(m.Parameters))
	}
	if n := len(m.ResultFormatCodes); n > 1 && n != len(p.columns) {
		return violation("bind message has %d result formats but query has %d columns", n, len(p.columns))
	}
	for _, formats := range [...][]int16{m.ParameterFormatCodes, m.ResultFormatCodes} {
		for _, f := range formats {
			if f != pgtype.TextFormatCode && f != pgtype.BinaryFormatCode {
				return &Error{Code: codeInvalidValue, Message: fmt.Sprintf("unsupported format code: %d", f)}
			}
		}
	}
	return nil
}

func violation(format string, args ...any) *Error {
	return &Error{Code: codeProtocolViolation, Message: fmt.Sprintf(format, args...)}
}

func noSuchStatement(name string) *Error {
	return &Error{Code: codeNoSuchStatement, Message: fmt.Sprintf(`prepared statement "%s" does not exist`, shortened(name))}
}

// arguments reads the parameters of a Bind message.
func (s *session) arguments(p *prepared, m *pgproto3.Bind) (*params, error) {
	args := &params{types: append([]Type{}, p.types...), values: make([]any, len(p.types))}
	for i, raw := range m.Parameters {
		v, err := s.decode(raw, p.oids[i], p.types[i], formatOf(m.ParameterFormatCodes, i))
		if err != nil {
			err.Message = fmt.Sprintf("parameter $%d: %s", i+1, err.Message)
			return nil, err
		}
		args.values[i] = v
	}
	return args, nil
}

// decode reads one parameter.
func (s *session) decode(raw []byte, oid uint32, t Type, format int16) (any, *Error) {
	if raw == nil {
		return nil, nil
	}
	var v any = string(raw)
	if format == pgtype.BinaryFormatCode && !isTextOID(oid) {
		var err error
		if v, err = s.decodeBinary(raw, oid); err != nil {
			return nil, &Error{Code: codeInvalidBinary, Message: "incorrect binary data format: " + printable(err.Error())}
		}
	} else if !utf8.Valid(raw) {
		return nil, &Error{Code: codeNotInRepertoire, Message: `invalid byte sequence for encoding "UTF8"`}
	}
	if t == unknown {
		return v, nil
	}
	converted, ok := convert(v, t, s.settings.zone)
	if !ok {
		return nil, &Error{Code: codeInvalidText, Message: fmt.Sprintf(`invalid input syntax for type %s: "%s"`, t, shortened(fmt.Sprint(v)))}
	}
	return converted, nil
}

func isTextOID(oid uint32) bool {
	t, _ := typeOfOID(oid)
	return t == Text || t == unknown
}

// decodeBinary reads what pgtype makes of raw as one of our values.
func (s *session) decodeBinary(raw []byte, oid uint32) (any, error) {
	known, ok := s.types.TypeForOID(oid)
	if !ok {
		return nil, fmt.Errorf("unknown type %d", oid)
	}
	v, err := known.Codec.DecodeValue(s.types, oid, pgtype.BinaryFormatCode, raw)
	if err != nil {
		return nil, err
	}
	if n, ok := v.(pgtype.Numeric); ok {
		text, err := n.Value()
		return fmt.Sprint(text), err
	}
	t, _ := typeOfOID(oid)
	if t == Int4 {
		t = Int8
	}
	return canonical(v, t)
}

func (s *session) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		p := s.prepared[m.Name]
		if p == nil {
			return noSuchStatement(m.Name)
		}
		s.put(&pgproto3.ParameterDescription{ParameterOIDs: p.oids})
		s.describeColumns(p.columns, nil)
		return nil
	}
	po := s.portals[m.Name]
	if po == nil {
		return noSuchPortal(m.Name)
	}
	s.describeColumns(po.columns, po.formats)
	return nil
}

func (s *session) describeColumns(columns []Column, formats []int16) {
	if columns == nil {
		s.put(&pgproto3.NoData{})
		return
	}
	s.sendDescription(columns, formats)
}

func noSuchPortal(name string) *Error {
	return &Error{Code: codeNoSuchCursor, Message: fmt.Sprintf(`portal "%s" does not exist`, shortened(name))}
}

// executePortal runs a portal, or goes on where its last Execute has stopped.
func (s *session) executePortal(m *pgproto3.Execute) error {
	po := s.portals[m.Portal]
	switch {
	case po == nil:
		return noSuchPortal(m.Portal)
	case po.stmt == nil:
		s.put(&pgproto3.EmptyQueryResponse{})
		return nil
	case po.done && po.columns == nil:
		return &Error{Code: codeNotInState, Message: fmt.Sprintf(`portal "%s" cannot be run anymore`, shortened(m.Portal))}
	}
	if po.out == nil {
		out, err := s.execute(po.stmt, po.params)
		if err != nil {
			return err
		}
		if inParts := m.MaxRows > 0 && uint64(len(out.rows)) > uint64(m.MaxRows); inParts {
			if err := s.keep(&out); err != nil {
				return err
			}
		}
		po.out = &out
	}
	err := s.sendPart(po, m.MaxRows)
	if err != nil {
		delete(s.portals, m.Portal)
	}
	return err
}

// keep lets a portal hold what it does not send at once, if that is not too much. The rows become its own: a snapshot's can
// be one piece of memory, of which a single row would hold all.
func (s *session) keep(out *outcome) error {
	if s.keptCells()+out.cells() > maxCells {
		return &Error{
			Code: codeLimitExceeded, Message: "the portals of this session hold too much",
			Hint: fmt.Sprintf("Fetch all rows at once, or close portals: what waits in them can be %d values altogether.", maxCells),
		}
	}
	rows := make([][]any, len(out.rows))
	for i, row := range out.rows {
		rows[i] = slices.Clone(row)
	}
	out.rows = rows
	return nil
}

// keptCells is how many values are waiting to be fetched.
func (s *session) keptCells() (n int) {
	for _, po := range s.portals {
		if po.out != nil {
			n += po.out.cells()
		}
	}
	return n
}

// cells is how many values an outcome holds.
func (o *outcome) cells() int {
	if len(o.rows) == 0 {
		return 0
	}
	return len(o.rows) * len(o.rows[0])
}

// sendPart sends up to most rows of a portal, which does not keep them; 0 means all.
func (s *session) sendPart(po *portal, most uint32) error {
	out, n := po.out, len(po.out.rows)
	if most > 0 && uint64(n) > uint64(most) {
		n = int(most)
	}
	if err := s.sendRows(out, out.rows[:n], po.formats); err != nil {
		return err
	}
	clear(out.rows[:n])
	if out.rows = out.rows[n:]; len(out.rows) > 0 {
		s.put(&pgproto3.PortalSuspended{})
		return nil
	}
	po.done, out.rows, out.outs = true, nil, nil
	s.sendTag(*out, n)
	return nil
}

func (s *session) closeObject(m *pgproto3.Close) {
	if m.ObjectType == 'S' {
		s.forget(m.Name)
	} else {
		delete(s.portals, m.Name)
	}
	s.put(&pgproto3.CloseComplete{})
}

// forget drops a prepared statement, if there is one of that name.
func (s *session) forget(name string) {
	if p := s.prepared[name]; p != nil {
		s.texts -= p.size()
		delete(s.prepared, name)
	}
}

func (s *session) forgetAll() {
	clear(s.prepared)
	s.texts = 0
}
