package frontend

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// Codes that stand in place of a protocol version in a start-up packet (PostgreSQL's pqcomm.h).
const (
	codeSSLRequest    = 80877103
	codeGSSENCRequest = 80877104
	codeCancelRequest = 80877102
)

// maxStartupPacket is PostgreSQL's MAX_STARTUP_PACKET_LENGTH, in bytes.
const maxStartupPacket = 10_000

// nameLimit is how many bytes of a user or database name PostgreSQL looks at (NAMEDATALEN - 1).
const nameLimit = 63

// startup is what a client asks for in its StartupMessage.
type startup struct {
	user, database string
	settings       []sessionstate.Setting // run-time parameters, by lower-case name
	boundary       config.Boundary        // BoundaryInherit: not chosen
	class          string                 // "": not chosen
	purity         config.Purity          // PurityInherit: not chosen
	minor          uint16                 // of the protocol version asked for
	unknownOptions []string               // _pq_. options, all of which are unknown

	method  loginMethod     // by which the client has proven who it is
	learned auth.Credential // what its proof has taught
}

// cancelKey is a CancelRequest.
type cancelKey struct {
	id     uint32
	secret []byte
}

// errShort tells that a packet has not come whole yet.
var errShort = errors.New("packet is not complete")

// cutStartup cuts a start-up packet, which has no type, off b. It is the first thing an attacker meets: the length is
// checked before it is believed.
func cutStartup(b []byte) (code uint32, body, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, b, errShort
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 8 || size > maxStartupPacket {
		return 0, nil, b, protocolViolation("invalid length of startup packet")
	}
	if len(b) < size {
		return 0, nil, b, errShort
	}
	return binary.BigEndian.Uint32(b[4:]), b[8:size:size], b[size:], nil
}

// parseCancel reads the body of a CancelRequest.
func parseCancel(body []byte) (cancelKey, error) {
	switch {
	case len(body) < 4:
		return cancelKey{}, protocolViolation("invalid length of cancel request packet")
	case len(body) == 4 || len(body) > 4+largestSecret:
		return cancelKey{}, protocolViolation("invalid length of cancel key in cancel request packet")
	}
	return cancelKey{binary.BigEndian.Uint32(body), body[4:]}, nil
}

// parseStartup reads the parameters of a StartupMessage as PostgreSQL's ProcessStartupPacket does.
func parseStartup(version uint32, body []byte) (*startup, error) {
	major, minor := version>>16, uint16(version)
	if major != 3 {
		return nil, &Refusal{
			Code:    codeFeatureNotSupported,
			Message: fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.%d", major, minor, newestMinor),
		}
	}
	st := &startup{minor: minor}
	var options string
	for {
		name, rest, ok := wire.Cstring(body)
		if !ok {
			return nil, protocolViolation("invalid startup packet layout: expected terminator as last byte")
		}
		if len(name) == 0 {
			if len(rest) > 0 {
				return nil, protocolViolation("invalid startup packet layout: expected terminator as last byte")
			}
			break
		}
		value, rest, ok := wire.Cstring(rest)
		if !ok {
			return nil, protocolViolation("invalid startup packet layout: expected terminator as last byte")
		}
		body = rest
		if string(name) == "options" {
			options = string(value)
			continue
		}
		if err := st.parameter(string(name), string(value)); err != nil {
			return nil, err
		}
	}
	return st, st.finish(options)
}

// parameter takes note of one start-up parameter.
func (st *startup) parameter(name, value string) error {
	switch {
	case name == "user":
		st.user = truncate(value)
	case name == "database":
		st.database = truncate(value)
	case name == "replication":
		if !slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(value)) {
			return &Refusal{Code: codeFeatureNotSupported, Message: "replication connections do not go through the pooler; connect to PostgreSQL directly"}
		}
	case strings.HasPrefix(name, "_pq_."):
		st.unknownOptions = append(st.unknownOptions, name)
	default:
		return st.set(name, value)
	}
	return nil
}

// set takes note of one run-time parameter; the last value counts.
func (st *startup) set(name, value string) error {
	name = strings.ToLower(name)
	if choose, own := poolParameters[name]; own {
		return choose(st, value)
	}
	if name == "application_name" {
		value = readableName(value)
	}
	i := slices.IndexFunc(st.settings, func(s sessionstate.Setting) bool { return s.Name == name })
	if i < 0 {
		st.settings = append(st.settings, sessionstate.Setting{Name: name, Value: value})
		return nil
	}
	if name == "datestyle" {
		value = mergeDateStyle(st.settings[i].Value, value)
	}
	st.settings[i].Value = value
	return nil
}

// readableName is an application_name in which PostgreSQL finds no fault wherever it is told of it. In a start-up packet it
// takes any bytes, and shows those that are not ASCII as question marks; in SQL only what is text is let in.
func readableName(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	clean := []byte(name)
	for i, c := range clean {
		if c >= utf8.RuneSelf {
			clean[i] = '?'
		}
	}
	return string(clean)
}

// poolParameters are those by which a client chooses how it is pooled. PostgreSQL does not hear of them.
var poolParameters = map[string]func(*startup, string) error{
	"pool_boundary": func(st *startup, value string) (err error) {
		if st.boundary, err = config.ParseBoundary(value); err != nil {
			return invalidParameter("pool_boundary", value, "Available values: statement, transaction, session.")
		}
		return nil
	},
	"pool_purity": func(st *startup, value string) (err error) {
		if st.purity, err = config.ParsePurity(value); err != nil {
			return invalidParameter("pool_purity", value, "Available values: self, new.")
		}
		return nil
	},
	"pool_connection_class": func(st *startup, value string) error {
		if err := config.CheckClass(value); err != nil {
			return invalidParameter("pool_connection_class", value, err.Error())
		}
		st.class = value
		return nil
	},
}

func invalidParameter(name, value, hint string) *Refusal {
	return &Refusal{Code: codeInvalidValue, Message: fmt.Sprintf("invalid value for parameter %q: %q", name, value), Hint: hint}
}

// mergeDateStyle is what value means behind old: without a word for the order of day, month and year it leaves that as
// it is (check_datestyle in PostgreSQL's variable.c).
func mergeDateStyle(old, value string) string {
	if dateOrder(value) != "" || dateOrder(old) == "" {
		return value
	}
	return value + ", " + dateOrder(old)
}

func dateOrder(style string) string {
	style = strings.ToLower(style)
	for _, o := range []struct{ word, order string }{
		{"ymd", "YMD"}, {"dmy", "DMY"}, {"noneuro", "MDY"}, {"euro", "DMY"}, {"mdy", "MDY"}, {"us", "MDY"}, {"german", "DMY"},
	} {
		if strings.Contains(style, o.word) {
			return o.order
		}
	}
	return ""
}

// finish checks the whole and applies the options string, which a parameter of its own overrides.
func (st *startup) finish(options string) error {
	if st.user == "" {
		return &Refusal{Code: codeInvalidAuth, Message: "no PostgreSQL user name specified in startup packet"}
	}
	if st.database == "" {
		st.database = st.user
	}
	explicit := *st
	st.settings = nil
	if err := st.parseOptions(options); err != nil {
		return err
	}
	for _, s := range explicit.settings {
		if err := st.set(s.Name, s.Value); err != nil {
			return err
		}
	}
	st.boundary = cmp.Or(explicit.boundary, st.boundary)
	st.purity = cmp.Or(explicit.purity, st.purity)
	st.class = cmp.Or(explicit.class, st.class)
	return nil
}

// client is who asks, as the configuration's rules see it.
func (st *startup) client(remote netip.AddrPort) config.Client {
	who := config.Client{
		Database: st.database, User: st.user, Source: remote.Addr(),
		Class: st.class, Purity: st.purity, Boundary: st.boundary,
	}
	for _, s := range st.settings {
		if s.Name == "application_name" {
			who.Application = s.Value
		}
	}
	return who
}

// parseOptions reads the switches of the options parameter: -c name=value and --name=value, with white space escaped
// by a backslash (pg_split_opts and process_postgres_switches in PostgreSQL's postgres.c).
func (st *startup) parseOptions(options string) error {
	words := splitOptions(options)
	for i := 0; i < len(words); i++ {
		w := words[i]
		var assignment string
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			assignment = words[i]
		case strings.HasPrefix(w, "-c") && len(w) > 2:
			assignment = w[2:]
		case strings.HasPrefix(w, "--") && len(w) > 2:
			assignment = w[2:]
		default:
			return &Refusal{
				Code: codeFeatureNotSupported, Message: fmt.Sprintf("start-up option %q is not supported by the pooler", w),
				Hint: "Use -c name=value or --name=value.",
			}
		}
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return &Refusal{Code: "42601", Message: fmt.Sprintf("-c %s requires a value", assignment)}
		}
		if err := st.set(strings.ReplaceAll(name, "-", "_"), value); err != nil {
			return err
		}
	}
	return nil
}

func splitOptions(s string) []string {
	var words []string
	var word []byte
	inside := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			word, inside = append(word, s[i]), true
		case c == ' ' || c >= '\t' && c <= '\r':
			if inside {
				words = append(words, string(word))
			}
			word, inside = word[:0], false
		default:
			word, inside = append(word, c), true
		}
	}
	if inside {
		words = append(words, string(word))
	}
	return words
}

func truncate(name string) string {
	return name[:min(len(name), nameLimit)]
}

// newestMinor is the newest minor version of protocol 3 that is spoken here. PostgreSQL 18 takes 3.1, which nobody uses,
// without a word, too (ProcessStartupPacket in its backend_startup.c).
const newestMinor = 2

// appendNegotiation appends the NegotiateProtocolVersion that a client gets which asked for more than there is.
func (st *startup) appendNegotiation(dst []byte) []byte {
	if st.minor <= newestMinor && len(st.unknownOptions) == 0 {
		return dst
	}
	spoken := 3<<16 | uint32(min(st.minor, newestMinor))
	out, err := (&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: spoken, UnrecognizedOptions: st.unknownOptions}).Encode(dst)
	if err != nil {
		return dst
	}
	return out
}

// keySize is the size of the secret in the client's cancel key, in bytes.
func (st *startup) keySize() uint8 {
	if st.minor >= 2 {
		return longSecret
	}
	return shortSecret
}
