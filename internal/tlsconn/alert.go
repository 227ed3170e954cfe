package tlsconn

import (
	"crypto/tls"
	"strings"
)

// alert is a code of RFC 8446, 6; 0 stands for none where an alert is optional, close_notify being no fault.
type alert uint8

const (
	alertCloseNotify       alert = 0
	alertUnexpectedMessage alert = 10
	alertBadRecordMAC      alert = 20
	alertRecordOverflow    alert = 22
	alertIllegalParameter  alert = 47
	alertDecodeError       alert = 50
	alertProtocolVersion   alert = 70
	alertUserCanceled      alert = 90
)

const (
	levelWarning = 1
	levelFatal   = 2
)

// AlertError is a connection that ended with an alert, after the handshake.
type AlertError struct {
	Code   uint8 // of RFC 8446, 6
	Remote bool  // the peer sent it; else it broke the protocol and is sent it
}

// Error is the alert in words.
func (e *AlertError) Error() string {
	what := strings.TrimPrefix(tls.AlertError(e.Code).Error(), "tls: ")
	if e.Remote {
		return "TLS: the peer gave up: " + what
	}
	return "TLS: the peer broke the protocol: " + what
}
