package statetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

const separator = " ;; " // between the messages of a Pipe

// request is a step on the wire.
type request struct {
	bytes []byte
	ready int // how many ReadyForQuery answer it
}

// encode is for steps that are sent on a connection; Connect's text is only looked at.
func (s Step) encode() (request, error) {
	switch s.Verb {
	case Query:
		b, err := (&pgproto3.Query{String: s.Text}).Encode(nil)
		return request{bytes: b, ready: 1}, err
	case Pipe:
		return encodePipe(s.Text)
	case Connect:
		_, err := startUp(s.Text)
		return request{}, err
	default:
		return request{}, nil
	}
}

// startUp reads the text of a Connect.
func startUp(text string) (map[string]string, error) {
	all, err := words(text)
	parameters := map[string]string{}
	for _, w := range all {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("start-up parameter %q: want name=value", w)
		}
		parameters[name] = value
	}
	return parameters, err
}

// encodePipe adds the last Sync, so that a script may lose any message and still ends.
func encodePipe(text string) (request, error) {
	var r request
	for part := range strings.SplitSeq(text+separator+"sync", separator) {
		m, err := message(strings.TrimSpace(part))
		if err != nil {
			return r, fmt.Errorf("message %q: %w", part, err)
		}
		if _, ok := m.(*pgproto3.Sync); ok {
			r.ready++
		}
		if r.bytes, err = m.Encode(r.bytes); err != nil {
			return r, err
		}
	}
	return r, nil
}

var errMessage = errors.New("want parse NAME SQL, bind PORTAL NAME [value…], describe S|P NAME, " +
	"execute PORTAL [rows], close S|P NAME, flush or sync, with - for the unnamed one")

// message reads one message of a Pipe.
func message(text string) (pgproto3.FrontendMessage, error) {
	kind, rest, _ := strings.Cut(text, " ")
	if kind == "parse" {
		name, sql, _ := strings.Cut(rest, " ")
		return &pgproto3.Parse{Name: unnamed(name), Query: sql}, nil
	}
	args, err := words(rest)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "flush":
		return &pgproto3.Flush{}, nil
	case kind == "sync":
		return &pgproto3.Sync{}, nil
	case kind == "bind" && len(args) >= 2:
		return &pgproto3.Bind{DestinationPortal: unnamed(args[0]), PreparedStatement: unnamed(args[1]), Parameters: values(args[2:])}, nil
	case kind == "describe" && len(args) == 2:
		return &pgproto3.Describe{ObjectType: args[0][0], Name: unnamed(args[1])}, nil
	case kind == "close" && len(args) == 2:
		return &pgproto3.Close{ObjectType: args[0][0], Name: unnamed(args[1])}, nil
	case kind == "execute" && len(args) >= 1:
		rows, err := strconv.ParseUint(strings.Join(append(args[1:], "0")[:1], ""), 10, 32)
		return &pgproto3.Execute{Portal: unnamed(args[0]), MaxRows: uint32(rows)}, err
	}
	return nil, errMessage
}

func unnamed(name string) string {
	if name == "-" {
		return ""
	}
	return name
}

func values(args []string) [][]byte {
	all := make([][]byte, len(args))
	for i, a := range args {
		if a != "NULL" {
			all[i] = []byte(a)
		}
	}
	return all
}

// words cuts text at spaces. A word in double quotes is a Go string.
func words(text string) ([]string, error) {
	var all []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			all, text = append(all, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoted, err)
		}
		all, text = append(all, word), text[len(quoted):]
	}
	return all, nil
}

// quote makes a word of s.
func quote(s string) string {
	if s == "" || strings.ContainsAny(s, " \"\\") {
		return strconv.Quote(s)
	}
	return s
}
