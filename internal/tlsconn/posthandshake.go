package tlsconn

// Messages of the handshake's protocol that may come after it (RFC 8446, 4.6; RFC 5246, 7.4.1.1).
const (
	messageHelloRequest     = 0
	messageNewSessionTicket = 4
	messageKeyUpdate        = 24
)

const (
	updateNotRequested = 0
	updateRequested    = 1
)

// maxMessage bounds a message that is skipped, in bytes, as crypto/tls does.
const maxMessage = 1 << 16

// postHandshake is what is known of a message that has not come whole. Of long ones nothing is kept.
type postHandshake struct {
	head [5]byte // type, length, and the one byte of a KeyUpdate
	have uint8
	skip uint32 // bytes of a message nobody wants
}

// begun tells whether a message has come in part.
func (m *postHandshake) begun() bool { return m.have > 0 || m.skip > 0 }

func (m *postHandshake) length() uint32 {
	return uint32(m.head[1])<<16 | uint32(m.head[2])<<8 | uint32(m.head[3])
}

// wants is how much of the message at hand is to be looked at.
func (m *postHandshake) wants() uint8 {
	if m.have > 0 && m.head[0] == messageKeyUpdate {
		return 5
	}
	return 4
}

// take gathers the head of a message, or passes over what is skipped. It reports what is left of text, and whether a head is
// complete.
func (m *postHandshake) take(text []byte) ([]byte, bool) {
	n := min(int(m.skip), len(text))
	m.skip -= uint32(n)
	text = text[n:]
	for len(text) > 0 && (m.have == 0 || m.have < m.wants()) {
		m.head[m.have] = text[0]
		m.have++
		text = text[1:]
	}
	return text, m.have > 0 && m.have == m.wants()
}

// handshake takes a record with messages, or parts of them.
func (l *Layer) handshake(text []byte) alert {
	if len(text) == 0 {
		return alertUnexpectedMessage // RFC 8446, 5.1
	}
	for len(text) > 0 {
		var whole bool
		if text, whole = l.post.take(text); !whole {
			return 0
		}
		l.post.have = 0
		if fault := l.message(len(text) == 0); fault != 0 {
			return fault
		}
	}
	return 0
}

// message judges a message by its head; last tells that nothing stands behind that head in its record.
func (l *Layer) message(last bool) alert {
	n := l.post.length()
	switch kind := l.post.head[0]; {
	case !l.suite.tls13 && l.client && kind == messageHelloRequest && n == 0:
		return 0 // which may be ignored: nothing is ever negotiated again
	case l.suite.tls13 && l.client && kind == messageNewSessionTicket:
		if n > maxMessage {
			return alertIllegalParameter
		}
		l.post.skip = n
		return 0
	case l.suite.tls13 && kind == messageKeyUpdate:
		return l.keyUpdate(n, last)
	}
	return alertUnexpectedMessage
}

// keyUpdate puts the peer's next key in force. Nothing may stand behind it under the old one.
func (l *Layer) keyUpdate(n uint32, last bool) alert {
	request := l.post.head[4]
	switch {
	case n != 1:
		return alertDecodeError
	case request > updateRequested:
		return alertIllegalParameter
	case !last:
		return alertUnexpectedMessage
	}
	l.in.renew(l.suite)
	l.update = l.update || request == updateRequested // one answer to several is enough (RFC 8446, 4.6.3)
	return 0
}
