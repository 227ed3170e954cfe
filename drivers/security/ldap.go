package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// directory is an LDAP server that knows one entry for each client and answers simple binds (RFC 4511, 4.2), nothing else.
type directory struct {
	listener net.Listener
	port     int
}

const (
	ldapBind               = 0
	ldapBindAnswer         = 1
	ldapUnbind             = 2
	ldapInvalidCredentials = 49
)

func startDirectory() (*directory, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &directory{listener: l, port: l.Addr().(*net.TCPAddr).Port}
	go d.serve()
	return d, nil
}

func (d *directory) close() error { return d.listener.Close() }

func (d *directory) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = d.talk(conn) // whoever asked sees that the connection has ended
			_ = conn.Close()
		}()
	}
}

func (d *directory) talk(conn io.ReadWriter) error {
	for {
		message, err := ber.ReadPacket(conn)
		if err != nil || len(message.Children) < 2 {
			return err
		}
		request := message.Children[1]
		if request.Tag == ldapUnbind {
			return nil
		}
		if request.Tag != ldapBind || len(request.Children) < 3 {
			return fmt.Errorf("LDAP request %d", request.Tag)
		}
		name, password := request.Children[1].Data.String(), request.Children[2].Data.String()
		if _, err := conn.Write(bindAnswer(message.Children[0].Value.(int64), known(name, password))); err != nil {
			return err
		}
	}
}

func known(name, password string) bool {
	uid, found := strings.CutPrefix(name, "uid=")
	uid, suffix := strings.CutSuffix(uid, ",dc=example")
	return found && suffix && password == rightPassword(uid)
}

func bindAnswer(id int64, ok bool) []byte {
	code := int64(0)
	if !ok {
		code = ldapInvalidCredentials
	}
	answer := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldapBindAnswer, nil, "")
	answer.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
	answer.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	answer.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	message := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	message.AppendChild(answer)
	return message.Bytes()
}
