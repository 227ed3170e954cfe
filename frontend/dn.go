package frontend

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// distinguishedName writes a certificate's subject, in DER, as PostgreSQL compares it (port->peer_dn): in the form of RFC
// 2253 as OpenSSL has it (X509_NAME_print_ex with XN_FLAG_RFC2253), the last part first.
func distinguishedName(subject []byte) (string, error) {
	parts, err := parseName(subject)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		for j := len(parts[i]) - 1; j >= 0; j-- {
			if b.Len() > 0 {
				b.WriteByte(",+"[min(1, len(parts[i])-1-j)])
			}
			appendAttribute(&b, parts[i][j])
		}
	}
	return b.String(), nil
}

// commonName is the first CN of a certificate's subject, in DER, which is the one that PostgreSQL goes by (port->peer_cn,
// X509_NAME_get_text_by_NID): byte for byte as it stands there, in whatever encoding. "" if there is none.
func commonName(subject []byte) (string, error) {
	parts, err := parseName(subject)
	for _, part := range parts {
		for _, a := range part {
			if a.Type.Equal(oidCommonName) {
				return string(a.Value.Bytes), err
			}
		}
	}
	return "", err
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

func parseName(subject []byte) (parts []attributeSET, err error) {
	rest, err := asn1.Unmarshal(subject, &parts)
	if err == nil && len(rest) > 0 {
		err = errors.New("there is something behind it")
	}
	if err != nil {
		return nil, fmt.Errorf("the subject of the client certificate cannot be read: %w", err)
	}
	return parts, nil
}

// attributeSET is one part of a name. The asn1 package knows by the type's name that it is a set.
type attributeSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// attributeNames are OpenSSL's short names of what RFC 5280 has in names, and of what else is seen there.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description", "2.5.4.15": "businessCategory",
	"2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier",
	"2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress",
	"1.2.840.113549.1.9.2": "unstructuredName",
}

func appendAttribute(b *strings.Builder, a attribute) {
	oid := a.Type.String()
	name, known := attributeNames[oid]
	var value any
	_, err := asn1.Unmarshal(a.Value.FullBytes, &value)
	if text, ok := value.(string); known && ok && err == nil {
		b.WriteString(name + "=")
		appendEscaped(b, text)
		return
	}
	if !known {
		name = oid
	}
	b.WriteString(name + "=#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
}

// appendEscaped escapes what is special in a name (RFC 2253, section 2.4) and, like OpenSSL, all that is not ASCII text.
func appendEscaped(b *strings.Builder, value string) {
	for i := range len(value) {
		switch c := value[i]; {
		case c < ' ' || c >= 0x7F:
			fmt.Fprintf(b, `\%02X`, c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == ' ' && (i == 0 || i == len(value)-1), c == '#' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}
