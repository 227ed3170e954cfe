package auth

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"pooler/internal/hba"
)

func TestLDAPBindsAsTheUser(t *testing.T) {
	p := startPeer(t, &peer{passwords: map[string]string{
		"cn=ann,dc=x": testPassword, `cn=ann\,ou=admins,dc=x`: "other", `DOM\ann`: testPassword, "ann@x": testPassword,
	}}, false)
	dn := p.directory("ldapprefix", "cn=", "ldapsuffix", ",dc=x")
	for name, c := range map[string]struct {
		d              *Directory
		user, password string
		wrong          bool
		asked          string
	}{
		"right":                {dn, "ann", testPassword, false, "bind cn=ann,dc=x"},
		"wrong password":       {dn, "ann", "other", true, "bind cn=ann,dc=x"},
		"unknown user":         {dn, "bob", testPassword, true, "bind cn=bob,dc=x"},
		"no password":          {dn, "ann", "", true, ""},
		"a name that is a DN":  {dn, "ann,ou=admins", "other", false, `bind cn=ann\,ou=admins,dc=x`},
		"a name with a quote":  {dn, `a"b`, "x", true, `bind cn=a\"b,dc=x`},
		"a domain in front":    {p.directory("ldapprefix", `DOM\`), "ann", testPassword, false, `bind DOM\ann`},
		"a domain behind":      {p.directory("ldapsuffix", "@x"), "ann", testPassword, false, "bind ann@x"},
		"a domain behind, too": {p.directory("ldapsuffix", "@x"), "bob", testPassword, true, "bind bob@x"},
	} {
		err := c.d.Check(t.Context(), c.user, c.password)
		if (err != nil) != c.wrong || c.wrong && !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := p.took(); asked != c.asked {
			t.Errorf("%s: asked %q, want %q", name, asked, c.asked)
		}
	}
}

func TestLDAPSearchesForTheUser(t *testing.T) {
	p := startPeer(t, &peer{
		passwords: map[string]string{"cn=reader,dc=x": "reads", "cn=Ann,dc=x": testPassword, "": testPassword},
		found: map[string][]string{
			"(uid=ann)": {"cn=Ann,dc=x"}, "(mail=ann)": {"cn=Ann,dc=x"}, "(uid=two)": {"cn=1", "cn=2"}, "(uid=many)": {"cn=1", "cn=2", "cn=3"},
			"(uid=root)": {""}, "(&(uid=ann)(ou=x))": {"cn=Ann,dc=x"},
		},
	}, false)
	base := []string{"ldapbasedn", "dc=x"}
	reader := slices.Concat(base, []string{"ldapbinddn", "cn=reader,dc=x", "ldapbindpasswd", "reads"})
	const found = " | search dc=x sub (uid=ann) | bind cn=Ann,dc=x"
	for name, c := range map[string]struct {
		options  []string
		user     string
		password string
		wrong    bool
		asked    string
	}{
		"anonymous search":       {base, "ann", testPassword, false, "bind " + found},
		"search as somebody":     {reader, "ann", testPassword, false, "bind cn=reader,dc=x" + found},
		"wrong password":         {reader, "ann", "reads", true, "bind cn=reader,dc=x" + found},
		"no password":            {reader, "ann", "", true, ""},
		"unknown user":           {base, "bob", testPassword, true, "bind  | search dc=x sub (uid=bob)"},
		"two entries":            {base, "two", testPassword, true, "bind  | search dc=x sub (uid=two)"},
		"many entries":           {base, "many", testPassword, true, "bind  | search dc=x sub (uid=many)"},
		"an entry without name":  {base, "root", testPassword, true, "bind  | search dc=x sub (uid=root)"},
		"another attribute":      {slices.Concat(base, []string{"ldapsearchattribute", "mail"}), "ann", testPassword, false, "bind  | search dc=x sub (mail=ann) | bind cn=Ann,dc=x"},
		"a filter":               {slices.Concat(base, []string{"ldapsearchfilter", "&(uid=$username)(ou=x)"}), "ann", testPassword, false, "bind  | search dc=x sub (&(uid=ann)(ou=x)) | bind cn=Ann,dc=x"},
		"a star":                 {base, "a*", testPassword, true, ""},
		"a parenthesis":          {base, "ann)(cn=*", testPassword, true, ""},
		"a backslash":            {base, `a\6e`, testPassword, true, ""},
		"a slash":                {base, "ann/x", testPassword, true, ""},
		"bytes that are no text": {base, "\xe4nn", testPassword, true, ""},
	} {
		err := p.directory(c.options...).Check(t.Context(), c.user, c.password)
		if (err != nil) != c.wrong || c.wrong && !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := p.took(); asked != c.asked {
			t.Errorf("%s: asked %q, want %q", name, asked, c.asked)
		}
	}
}

func TestLDAPFaultsAreNotWrongPasswords(t *testing.T) {
	p := startPeer(t, &peer{results: map[string]uint16{
		"cn=busy": ldap.LDAPResultBusy, "cn=down": ldap.LDAPResultUnavailable, "cn=tls": ldap.LDAPResultConfidentialityRequired,
		"cn=locked": ldap.LDAPResultUnwillingToPerform, "cn=reader": ldap.LDAPResultInvalidCredentials,
	}}, false)
	d := p.directory("ldapprefix", "cn=")
	for user, wrong := range map[string]bool{"busy": false, "down": false, "tls": false, "locked": true} {
		if err := d.Check(t.Context(), user, testPassword); err == nil || errors.Is(err, ErrWrong) != wrong {
			t.Errorf("%s: %v", user, err)
		}
	}
	reader := p.directory("ldapbasedn", "dc=x", "ldapbinddn", "cn=reader", "ldapbindpasswd", "secret-of-the-reader")
	if err := reader.Check(t.Context(), "ann", testPassword); err == nil || errors.Is(err, ErrWrong) || strings.Contains(err.Error(), "secret-of-the-reader") {
		t.Errorf("who searches is refused: %v", err)
	}
	closed := p.directory("ldapprefix", "cn=")
	closed.servers = []string{"127.0.0.1:1"}
	if err := closed.Check(t.Context(), "ann", testPassword); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("nobody listens: %v", err)
	}
	closed.servers = append(closed.servers, p.addr)
	if err := closed.Check(t.Context(), "ann", testPassword); !errors.Is(err, ErrWrong) {
		t.Errorf("the second server was not asked: %v", err)
	}
}

func TestASilentDirectoryIsGivenUp(t *testing.T) {
	p := startPeer(t, &peer{silent: make(chan struct{}, 1)}, false)
	for _, options := range [][]string{{"ldapprefix", "cn="}, {"ldapbasedn", "dc=x"}, {"ldapprefix", "cn=", "ldaptls", "1"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the client has gone")
		done := make(chan error, 1)
		d := p.directory(options...)
		go func() { done <- d.Check(ctx, "ann", testPassword) }()
		<-p.silent
		cancel(gone)
		if err := <-done; !errors.Is(err, gone) && !errors.Is(err, context.Canceled) || errors.Is(err, ErrWrong) {
			t.Errorf("%v: %v", options, err)
		}
	}
}

func TestLDAPEncrypts(t *testing.T) {
	passwords := map[string]string{"cn=ann": testPassword}
	plain := startPeer(t, &peer{passwords: passwords}, false)
	if err := plain.directory("ldapprefix", "cn=", "ldaptls", "1").Check(t.Context(), "ann", testPassword); err != nil {
		t.Errorf("StartTLS: %v", err)
	}
	if asked := plain.took(); asked != "starttls | bind cn=ann" {
		t.Errorf("StartTLS: %s", asked)
	}
	secure := startPeer(t, &peer{passwords: passwords}, true)
	d := secure.directory("ldapprefix", "cn=", "ldapscheme", "ldaps")
	if err := d.Check(t.Context(), "ann", testPassword); err != nil {
		t.Errorf("ldaps: %v", err)
	}
	secure.took()
	d.tls.RootCAs = nil // a stranger's certificate
	if err := d.Check(t.Context(), "ann", testPassword); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("ldaps with a stranger: %v", err)
	}
	stranger := plain.directory("ldapprefix", "cn=", "ldaptls", "1")
	stranger.tls.RootCAs = nil
	if err := stranger.Check(t.Context(), "ann", testPassword); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("StartTLS with a stranger: %v", err)
	}
	if asked := secure.took() + plain.took(); asked != "starttls" {
		t.Errorf("the password went to a stranger: %s", asked)
	}
}

func TestLDAPProofTeachesThePassword(t *testing.T) {
	p := startPeer(t, &peer{passwords: map[string]string{"cn=ann": testPassword}}, false)
	ask, proof := LDAP(p.directory("ldapprefix", "cn="), "ann")
	if proof.Cost() != Waits {
		t.Errorf("it costs %v", proof.Cost())
	}
	proven, err, _ := converse(t, NewAnswerer(nil, "ann", Credential{Password: testPassword}, Binding{}), ask, proof)
	if c, ok := proof.Learned(); !proven || !ok || c.Password != testPassword {
		t.Errorf("proven %v, learned %v, %v", proven, c, err)
	}
	ask, proof = LDAP(p.directory("ldapprefix", "cn="), "ann")
	proven, err, _ = converse(t, NewAnswerer(nil, "ann", Credential{Password: "wrong"}, Binding{}), ask, proof)
	if _, ok := proof.Learned(); proven || ok || !errors.Is(err, ErrWrong) {
		t.Errorf("proven %v, learned %v, %v", proven, ok, err)
	}
}

// directoryOf is what a line with these options leads to.
func directoryOf(options string) (*Directory, error) {
	o, err := hba.ParseOptions(hba.LDAP, options)
	if err != nil {
		return nil, err
	}
	return NewDirectory(o)
}

func TestLDAPOptionsAreChecked(t *testing.T) {
	for name, options := range map[string]string{
		"no server":              `ldapprefix="cn="`,
		"a server of spaces":     `ldapserver=" " ldapprefix="cn="`,
		"no mode":                `ldapserver=a`,
		"both modes":             `ldapserver=a ldapprefix="cn=" ldapbasedn="dc=x"`,
		"attribute and filter":   `ldapserver=a ldapbasedn="dc=x" ldapsearchattribute=uid ldapsearchfilter="(uid=$username)"`,
		"a broken filter":        `ldapserver=a ldapbasedn="dc=x" ldapsearchfilter="(uid=$username"`,
		"another scheme":         `ldapserver=a ldapprefix="cn=" ldapscheme=http`,
		"TLS twice":              `ldapserver=a ldapprefix="cn=" ldapscheme=ldaps ldaptls=1`,
		"TLS twice, by a URL":    `ldapurl="ldaps://a/dc=x" ldaptls=1`,
		"a strange ldaptls":      `ldapserver=a ldapprefix="cn=" ldaptls=yes`,
		"a strange port":         `ldapserver=a ldapprefix="cn=" ldapport=65536`,
		"a URL of another kind":  `ldapurl="http://a/dc=x"`,
		"a URL without server":   `ldapurl="ldap:///dc=x"`,
		"a URL without base":     `ldapurl="ldap://a"`,
		"a URL with a bad scope": `ldapurl="ldap://a/dc=x??all"`,
		"a URL with extensions":  `ldapurl="ldap://a/dc=x??sub?(uid=$username)?x"`,
		"a URL with a prefix":    `ldapurl="ldap://a/dc=x" ldapprefix="cn="`,
		"a scope by itself":      `ldapserver=a ldapbasedn="dc=x" ldapscope=one`,
	} {
		if _, err := directoryOf(options); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// A URL means what package hba says that it means, and nothing else.
func TestLDAPDirectoriesOfLines(t *testing.T) {
	const (
		base, one, sub = ldap.ScopeBaseObject, ldap.ScopeSingleLevel, ldap.ScopeWholeSubtree
		byUID          = "(uid=$username)"
	)
	for options, want := range map[string]Directory{
		`ldapurl="ldaps://a:1234/ou=a%20b,dc=x?mail?one"`: {servers: []string{"a:1234"}, ldaps: true, search: true, baseDN: "ou=a b,dc=x", scope: one, filter: "(mail=$username)"},
		// Without a scope a URL means the entry itself (RFC 4516), the other options the whole tree.
		`ldapurl="ldap://a/dc=x"`:                            {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: base, filter: byUID},
		`ldapurl="ldap://a/dc=x??"`:                          {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: base, filter: byUID},
		`ldapurl="ldap://a/dc=x??SUB"`:                       {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: sub, filter: byUID},
		`ldapserver=a ldapbasedn="dc=x"`:                     {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: sub, filter: byUID},
		`ldapurl="ldaps://a/dc=x?mail,uid?sub"`:              {servers: []string{"a:636"}, ldaps: true, search: true, baseDN: "dc=x", scope: sub, filter: "(mail=$username)"},
		`ldapurl="ldap://a/dc=x??sub?(cn=$username)"`:        {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: sub, filter: "(cn=$username)"},
		`ldapurl="ldap://a/"`:                                {servers: []string{"a:389"}, search: true, scope: base, filter: byUID},
		`ldapurl="ldap://a/dc=x" ldapserver="b c"`:           {servers: []string{"b:389", "c:389"}, search: true, baseDN: "dc=x", scope: base, filter: byUID},
		`ldapserver=b ldapurl="ldap://a/dc=x??sub"`:          {servers: []string{"a:389"}, search: true, baseDN: "dc=x", scope: sub, filter: byUID},
		`ldapurl="ldap://a/dc=x" ldapbasedn="dc=y"`:          {servers: []string{"a:389"}, search: true, baseDN: "dc=y", scope: base, filter: byUID},
		`ldapserver="a b ::1" ldapprefix=x ldapscheme=ldaps`: {servers: []string{"a:636", "b:636", "[::1]:636"}, ldaps: true, prefix: "x", scope: sub, filter: byUID},
	} {
		d, err := directoryOf(options)
		if err != nil {
			t.Errorf("%s: %v", options, err)
			continue
		}
		d.tls = nil
		if !reflect.DeepEqual(*d, want) {
			t.Errorf("%s\n got %+v\nwant %+v", options, *d, want)
		}
	}
}

// checkLDAPName reads the names that d makes of user as a directory would, and finds user in them.
func checkLDAPName(t *testing.T, d *Directory, user string) {
	t.Helper()
	if user == "" || !utf8.ValidString(user) {
		return // Check refuses those
	}
	packet, err := ldap.CompileFilter(d.filterFor(user))
	if err != nil {
		t.Fatalf("%q: %v", user, err)
	}
	if packet.Tag != ldap.FilterEqualityMatch || packet.Children[1].Data.String() != user {
		t.Fatalf("%q makes the filter %q", user, d.filterFor(user))
	}
	name, err := ldap.ParseDN(d.nameFor(user))
	if err != nil {
		t.Fatalf("%q: %v", user, err)
	}
	if len(name.RDNs) != 2 || len(name.RDNs[0].Attributes) != 1 || name.RDNs[0].Attributes[0].Value != user {
		t.Fatalf("%q makes the name %q", user, d.nameFor(user))
	}
}
