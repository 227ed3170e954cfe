package hba

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func mustParse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// answer is the line that c falls under, "none", or what is needed to tell.
func answer(f *File, c Client, facts Facts) string {
	rule, need := f.Match(c, facts)
	switch {
	case need != NeedNothing:
		return "needs " + need.String()
	case rule == nil:
		return "none"
	}
	return fmt.Sprint(rule.Line)
}

func TestMatch(t *testing.T) {
	host := func(addr string) Client {
		return Client{Addr: netip.MustParseAddr(addr), User: "u", Database: "d"}
	}
	over := func(c Client) Client { c.TLS = true; return c }
	local := Client{Local: true, User: "u", Database: "d"}
	groups := func(roles ...string) Facts {
		f := Facts{Groups: map[string]bool{}}
		for _, r := range roles {
			f.Groups[r] = true
		}
		return f
	}
	hosts := func(names ...string) Facts { return Facts{HostNames: append([]string{}, names...)} }
	interfaces := Facts{Interfaces: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("192.0.2.1/0")}}
	tests := []struct {
		name   string
		file   string
		client Client
		facts  Facts
		want   string
	}{
		{"the first line that fits counts", "host d u 1.2.3.4/32 reject\nhost all all all trust", host("1.2.3.4"), Facts{}, "1"},
		{"a later one fits", "host d u 1.2.3.5/32 reject\nhost all all all trust", host("1.2.3.4"), Facts{}, "2"},
		{"no line fits", "host e u all trust\nhost d v all trust", host("1.2.3.4"), Facts{}, "none"},
		{"lines of three indexes keep their order", "host all v all trust\nhost d all all trust\nhost all u all reject", host("1.2.3.4"), Facts{}, "2"},
		{"a Unix socket has lines of its own", "host all all all trust\nlocal all all trust", local, Facts{}, "2"},
		{"TCP never falls under local", "local all all trust", host("1.2.3.4"), Facts{}, "none"},
		{"an IPv4 client against an IPv6 line", "host all all ::/0 trust", host("1.2.3.4"), Facts{}, "none"},
		{"an IPv6 client against an IPv4 line", "host all all 0.0.0.0/0 trust", host("::1"), Facts{}, "none"},
		{"an IPv4 address in IPv6's form is an IPv4 client", "host all all 1.2.3.0/24 trust", host("::ffff:1.2.3.4"), Facts{}, "1"},
		{"nor does it fall under an IPv6 line in that form", "host all all ::ffff:1.2.3.4/128 trust", host("::ffff:1.2.3.4"), Facts{}, "none"},
		{"a zone is not looked at", "host all all fe80::/64 trust", host("fe80::1%eth0"), Facts{}, "1"},
		{"no address is in no network", "host all all ::/0 trust\nhost all all 0.0.0.0/0 trust", Client{User: "u", Database: "d"}, Facts{}, "none"},
		{"bits of the host in the line do not matter", "host all all 1.2.3.99/24 trust", host("1.2.3.4"), Facts{}, "1"},
		{"a mask with a hole", "host all all 1.9.3.4 255.0.255.255 trust", host("1.2.3.4"), Facts{}, "1"},
		{"all with TLS", "hostnossl all all all trust\nhostssl all all all reject", over(host("::1")), Facts{}, "2"},
		{"all without TLS", "hostssl all all all trust\nhostnossl all all all reject", host("::1"), Facts{}, "2"},
		{"GSSAPI encryption is never there", "hostgssenc all all all trust\nhostnogssenc all all all reject", over(host("::1")), Facts{}, "2"},
		{"an empty pattern fits everybody", "host all / all trust", host("::1"), Facts{}, "1"},
		{"a pattern for users", "host all /^[a-t]$,/^u+$ all trust", host("::1"), Facts{}, "1"},
		{"a pattern for databases, quoted", `host "/^d|e$" u all trust`, host("::1"), Facts{}, "1"},
		{"a pattern that does not fit", "host /^x /^u all trust", host("::1"), Facts{}, "none"},
		{"a group, not yet known", "host all +g all trust", host("::1"), Facts{}, "needs groups"},
		{"a group that the user is in", "host all +g all trust", host("::1"), groups("u", "g"), "1"},
		{"a group that the user is not in", "host all +g all trust", host("::1"), groups("u"), "none"},
		{"the user is its own group", "host all +u all trust", host("::1"), groups("u"), "1"},
		{"a user that does not exist is not even that", "host all +u all trust", host("::1"), groups(), "none"},
		{"groups do not matter if the user is named", "host all +g,u all trust", host("::1"), Facts{}, "1"},
		{"groups do not matter if the database is another", "host e +g all trust", host("::1"), Facts{}, "none"},
		{"groups do not matter if the address is another", "host d +g 1.2.3.4/32 trust", host("::1"), Facts{}, "none"},
		{"a line in front of the question answers", "host all u all reject\nhost all +g all trust", host("::1"), Facts{}, "1"},
		{"a line behind the question must wait", "host all +g all trust\nhost all u all reject", host("::1"), Facts{}, "needs groups"},
		{"samerole asks for groups", "host samerole u all trust", host("::1"), Facts{}, "needs groups"},
		{"samerole is a group named like the database", "host samerole u all trust", host("::1"), groups("u", "d"), "1"},
		{"samegroup is the same", "host samegroup u all trust", host("::1"), groups("u"), "none"},
		{"sameuser", "host sameuser all all trust", Client{Addr: netip.MustParseAddr("::1"), User: "d", Database: "d"}, Facts{}, "1"},
		{"sameuser of another", "host sameuser all all trust", host("::1"), Facts{}, "none"},
		{"replication is not a database", "host replication all all trust", Client{Addr: netip.MustParseAddr("::1"), User: "u", Database: "replication"}, Facts{}, "none"},
		{"unless it is quoted", `host "replication" all all trust`, Client{Addr: netip.MustParseAddr("::1"), User: "u", Database: "replication"}, Facts{}, "1"},
		{"all is not replication", "host all all all trust", Client{Addr: netip.MustParseAddr("::1"), User: "u", Replication: true}, Facts{}, "none"},
		{"replication is", "host d,replication all all trust", Client{Addr: netip.MustParseAddr("::1"), User: "u", Replication: true}, Facts{}, "1"},
		{"a host name, not yet known", "host all all h.example trust", host("::1"), Facts{}, "needs host name"},
		{"a host name", "host all all H.example trust", host("::1"), hosts("x", "h.EXAMPLE"), "1"},
		{"the end of a host name", "host all all .example trust", host("::1"), hosts("a.b.Example"), "1"},
		{"a domain is not its own end", "host all all .example trust", host("::1"), hosts("example", "badexample"), "none"},
		{"a host without a name", "host all all .example trust", host("::1"), hosts(), "none"},
		{"the name does not matter if the user is another", "host all v h.example trust", host("::1"), Facts{}, "none"},
		{"interfaces, not yet known", "host all all samenet trust", host("::1"), Facts{}, "needs interfaces"},
		{"an address of this machine", "host all all samehost trust", host("10.1.2.3"), interfaces, "1"},
		{"no address of this machine", "host all all samehost trust", host("10.1.2.4"), interfaces, "none"},
		{"a network of this machine", "host all all samenet trust", host("10.1.99.4"), interfaces, "1"},
		{"a network of this machine, IPv6", "host all all samenet trust", host("fd00::99"), interfaces, "1"},
		{"an interface without a mask is no network", "host all all samenet trust", host("192.0.2.2"), interfaces, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := answer(mustParse(t, tt.file), tt.client, tt.facts); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNeeds(t *testing.T) {
	f := mustParse(t, "host all +g h trust\nlocal all all peer")
	if !f.NeedsGroups() {
		t.Error("a file does not know what it asks for")
	}
	if f = mustParse(t, "host samerole all all trust"); !f.NeedsGroups() {
		t.Error("samerole asks for groups")
	}
	if f = mustParse(t, "host all all h trust"); f.NeedsGroups() {
		t.Error("a host's name asks for groups")
	}
}

// TestALoginLooksAtFewRules counts work, not time.
func TestALoginLooksAtFewRules(t *testing.T) {
	c := Client{Addr: netip.MustParseAddr("192.0.2.1"), User: "user777", Database: "db1"}
	for _, tt := range manyRules {
		t.Run(tt.name, func(t *testing.T) {
			rule, _, looked := mustParse(t, tt.text()).match(c, Facts{})
			if rule == nil || looked > tt.most {
				t.Errorf("looked at %d rules, want at most %d; found %v", looked, tt.most, rule)
			}
		})
	}
}

// rulesKind is a kind of large file: lines that differ, and a last one for everybody.
type rulesKind struct {
	name string
	line func(i int) string
	most int // lines to be looked at
}

const manyLines = 10_000

var manyRules = []rulesKind{
	{"a line for each user", func(i int) string { return fmt.Sprintf("host all user%d all reject", i) }, 2},
	{"a line for each database", func(i int) string { return fmt.Sprintf("host db%d all 10.0.0.0/8 reject", i) }, 2},
	{"a line for each of both", func(i int) string { return fmt.Sprintf("host db%d,x user%d,y 10.0.0.0/8 reject", i, i) }, 2},
	{"a line for each network", func(i int) string { return fmt.Sprintf("host all all 10.%d.%d.0/24 reject", i/256, i%256) }, manyLines + 1},
}

func (k rulesKind) text() string {
	var b strings.Builder
	for i := range manyLines {
		b.WriteString(k.line(i) + "\n")
	}
	return b.String() + "host all all all trust\n"
}

func BenchmarkMatch(b *testing.B) {
	c := Client{Addr: netip.MustParseAddr("192.0.2.1"), User: "user777", Database: "db1"}
	for _, k := range manyRules {
		f, err := Parse("f", []byte(k.text()))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(c, Facts{})
			}
		})
	}
}

func TestFaultsSayWhere(t *testing.T) {
	_, err := Parse("some.conf", []byte("local all all trust\n\nhost all \\\nall\nlocal all all tru=st\nhost all all 10.0.0.1 trust\n"))
	want := "some.conf:3: end-of-line before IP address specification\n" +
		"some.conf:5: invalid authentication method \"tru=…\"\n" +
		"some.conf:6: invalid IP mask \"trust\""
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = Parse("f", []byte(strings.Repeat("x\n", 10*maxFaults)))
	if n := strings.Count(err.Error(), "\n") + 1; n != maxFaults {
		t.Errorf("%d faults are told, want %d", n, maxFaults)
	}
	if _, err = Parse("f", []byte("# nothing\n")); err == nil || !strings.Contains(err.Error(), "no entries") {
		t.Errorf("a file without lines: %v", err)
	}
}

func TestRefusedWithAReason(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"gss", "host all all all gss", "use cert, oauth or scram-sha-256"},
		{"sspi", "host all all all sspi", "use cert"},
		{"ident over TCP", "host all all all ident", "peer in local lines"},
		{"radius", "host all all all radius radiusservers=x", "use ldap"},
		{"pam", "local all all pam", "use ldap"},
		{"an include", "include x", "cannot be included here"},
		{"a list", "local @x all trust", "cannot be included here"},
		{"a zero byte", "local all a\x00b trust", "zero byte"},
		{"an option of another method", "local all all peer issuer=x", `"issuer" is only valid for authentication methods oauth`},
		{"a map for a password", "local all all md5 map=x", `"map" is only valid for authentication methods peer, cert, oauth`},
		{"oauth without issuer", "host all all all oauth scope=x", `requires argument "issuer"`},
		{"oauth without scope", "host all all all oauth issuer=x", `requires argument "scope"`},
		{"a validator", "host all all all oauth issuer=x scope=y validator=v", "leave it out"},
		{"nobody who says who is whom", "host all all all oauth issuer=x scope=y delegate_ident_mapping=1", "not supported"},
		{"looking ahead", "local all /a(?=b) trust", "no looking ahead"},
		{"a back reference", `local all "/(a)\1" trust`, "back references"},
		{"few are preferred", "local all /a*? trust", "prefer few"},
		{"few in bounds are preferred", "local all /a{2}? trust", "prefer few"},
		{"an escape that is a backspace to PostgreSQL", `local all /\ba trust`, `\b is not supported`},
		{"word ends", `local all /a\M trust`, `\M is not supported`},
		{"a director", "local all /***=a trust", "directors"},
		{"flags in the middle", "local all /a(?i)b trust", "at the very beginning"},
		{"newlines", "local all /(?n)b trust", "at the very beginning"},
		{"collating elements", "local all /[[.a.]] trust", "collating"},
		{"brackets", "local all /[a trust", "not balanced"},
		{"a bound without end", "local all /a{1 trust", "bound"},
		{"a bound too large", "local all /a{256} trust", "bound"},
		{"nothing to repeat", "local all /+a trust", "missing argument"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse("f", []byte(tt.line)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name, line string
		want       Options
	}{
		{"cert implies verify-full", "hostssl all all all cert map=m", Options{"clientcert": "verify-full", "map": "m"}},
		{"a value with = and quotes", `hostssl all all all cert "map=a=""b"" c" clientname=DN`, Options{"clientcert": "verify-full", "map": `a="b" c`, "clientname": "DN"}},
		{"the last one counts", "local all all peer map=a map=b", Options{"map": "b"}},
		{"an LDAP URL is there in parts", `host all all all ldap ldapurl="ldaps://h/dc=a%20b?cn,uid?one" ldapbinddn=x`, Options{
			"ldapurl": "ldaps://h/dc=a%20b?cn,uid?one", "ldapscheme": "ldaps", "ldapserver": "h", "ldapport": "636", "ldapbasedn": "dc=a b",
			"ldapsearchattribute": "cn", "ldapscope": "one", "ldapbinddn": "x",
		}},
		{"its scope is base if it does not say", "host all all all ldap ldapurl=ldap://h:1/dc=a??sub?(a=%28)", Options{
			"ldapurl": "ldap://h:1/dc=a??sub?(a=%28)", "ldapscheme": "ldap", "ldapserver": "h", "ldapport": "1", "ldapbasedn": "dc=a",
			"ldapscope": "sub", "ldapsearchfilter": "(a=()",
		}},
		{"oauth", "host all all all oauth issuer=https://i scope=\"a b\" audience=p delegate_ident_mapping=0", Options{
			"issuer": "https://i", "scope": "a b", "audience": "p", "delegate_ident_mapping": "0",
		}},
		{"none", "local all all trust", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mustParse(t, tt.line).Rules()[0].Options; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v\nwant %#v", map[string]string(got), map[string]string(tt.want))
			}
		})
	}
	r := mustParse(t, "hostssl all all all cert map=m clientname=DN").Rules()[0]
	if r.Map() != "m" || r.ClientCert() != "verify-full" || !r.ClientDN() {
		t.Errorf("%v does not tell its options", r)
	}
}

func TestOptionsAlone(t *testing.T) {
	got, err := ParseOptions(LDAP, `ldapserver=h ldapprefix="uid=" ldapsuffix=",dc=x"`)
	want := Options{"ldapserver": "h", "ldapprefix": "uid=", "ldapsuffix": ",dc=x"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, tt := range []struct {
		m    Method
		text string
	}{
		{LDAP, ""},
		{LDAP, "ldapserver=h"},
		{LDAP, "ldapserver=h ldapprefix=x issuer=y"},
		{LDAP, "ldapserver=h ldapprefix=x clientcert=verify-ca"},
		{OAuth, "issuer=x"},
		{OAuth, "@file"},
		{OAuth, "issuer=x\nscope=y"},
		{"nonsense", ""},
	} {
		if o, err := ParseOptions(tt.m, tt.text); err == nil {
			t.Errorf("%s %q is taken: %v", tt.m, tt.text, o)
		}
	}
}

func TestImplicit(t *testing.T) {
	local := Client{Local: true, User: "u", Database: "d"}
	plain := Client{Addr: netip.MustParseAddr("::1"), User: "u", Database: "d"}
	over := plain
	over.TLS = true
	replica := plain
	replica.Replication = true
	for _, tt := range []struct {
		method                       Method
		local, plain, tls, replicate bool
	}{
		{SCRAM, true, true, true, true},
		{Trust, true, true, true, true},
		{Cert, false, false, true, false},
		{Peer, true, false, false, false},
	} {
		f := Implicit(tt.method, Options{"map": "m"})
		for _, ask := range []struct {
			c    Client
			want bool
		}{{local, tt.local}, {plain, tt.plain}, {over, tt.tls}, {replica, tt.replicate}} {
			rule, need := f.Match(ask.c, Facts{})
			if need != NeedNothing || (rule != nil) != ask.want || rule != nil && (rule.Method != tt.method || rule.Map() != "m") {
				t.Errorf("%s: %+v falls under %v, needs %v", tt.method, ask.c, rule, need)
			}
		}
	}
	if got := Implicit(Cert, nil).Rules()[0]; got.ClientCert() != "verify-full" {
		t.Errorf("%v demands no certificate", got)
	}
}

// TestSecretsAreNotShown prints, in every way, what has a password in it.
func TestSecretsAreNotShown(t *testing.T) {
	const secret = "hunter2"
	r := mustParse(t, `host all all all ldap ldapserver=h ldapbasedn=x ldapbinddn=y ldapbindpasswd=`+secret).Rules()[0]
	inJSON, err := json.Marshal(map[string]any{"rule": r, "options": r.Options})
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(inJSON)}
	for _, v := range []any{r, r.Options, []*Rule{r}, struct{ O Options }{r.Options}} {
		shown = append(shown, fmt.Sprintf("%v %+v %#v %s", v, v, v, v))
	}
	for _, line := range []string{
		"ldapbindpasswd=a " + secret, "ldapbindpasswd=a," + secret + "=b", "ldapbindpasswd=" + secret + " ldapprefix=x", "ldapbindpasswd=a ldapport=x " + secret + "=",
		"ldapbindpaswd=" + secret, "ldapurl=ldap://" + secret + "@h:x/",
	} {
		_, err := Parse("f", []byte("host all all all ldap ldapserver=h ldapbasedn=x "+line))
		_, err2 := ParseOptions(LDAP, "ldapserver=h ldapbasedn=x "+line)
		if err == nil || err2 == nil {
			t.Errorf("%s is taken", line)
		}
		shown = append(shown, fmt.Sprint(err, err2))
	}
	_, err = Parse("f", []byte("host all all 1.2.3.4/32 ldapbindpasswd="+secret+"\nldapbindpasswd="+secret+"\nhost all all ldapbindpasswd="+secret+" md5 x"))
	shown = append(shown, fmt.Sprint(err))
	for _, s := range shown {
		if strings.Contains(s, secret) {
			t.Errorf("shows the password: %s", s)
		}
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadWithIncludes(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "hba.conf", `local @lists/dbs @"lists/some users",last trust
include sub/more.conf
include_if_exists sub/nothing.conf
include_dir d
host all all all reject
`)
	write(t, dir, "lists/dbs", "a, b c # comment\n\n\"all\" @inner\n")
	write(t, dir, "lists/inner", "sameuser\n")
	write(t, dir, "lists/some users", "u,\\\nv")
	write(t, dir, "sub/more.conf", "\nhost a a all md5\ninclude deeper.conf\n")
	write(t, dir, "sub/deeper.conf", "host b b all md5")
	write(t, dir, "d/2.conf", "host 2 2 all md5")
	write(t, dir, "d/10.conf", "host 10 10 all md5")
	write(t, dir, "d/.hidden.conf", "nonsense")
	write(t, dir, "d/other", "nonsense")
	write(t, dir, "d/dir.conf/x", "nonsense")
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range f.Rules() {
		got = append(got, fmt.Sprintf("%s:%d %s", strings.TrimPrefix(r.File, dir+"/"), r.Line, r))
	}
	want := []string{
		`hba.conf:1 local a,b,c,"all",sameuser u,v,last trust`,
		`sub/more.conf:2 host a a all md5`,
		`sub/deeper.conf:1 host b b all md5`,
		`d/10.conf:1 host 10 10 all md5`,
		`d/2.conf:1 host 2 2 all md5`,
		`hba.conf:5 host all all all reject`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestIncludesThatFail(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "empty", "# nobody\n")
	write(t, dir, "bad.conf", "local all all trust\nlocal all all nonsense\n")
	write(t, dir, "loop.conf", "include loop.conf\n")
	write(t, dir, "list", "@list\n")
	write(t, dir, "tree.conf", strings.Repeat("include tree.conf\n", 20))
	for _, tt := range []struct{ name, text, want string }{
		{"a file that is not there", "include nothing.conf", "hba.conf:1: open " + dir + "/nothing.conf: no such file"},
		{"a directory that is not there", "include_dir nothing", "hba.conf:1: open " + dir + "/nothing: no such file"},
		{"a list that is not there", "local all @nothing trust", "hba.conf:1: open " + dir + "/nothing: no such file"},
		{"a list that is empty would move the columns", "local @empty all trust trust", `the list in "@empty" is empty`},
		{"a fault in a file", "include bad.conf", "bad.conf:2: invalid authentication method"},
		{"a name that is empty", `include ""`, "is empty"},
		{"two names", "include bad.conf,bad.conf", "include takes one name"},
		{"a file that includes itself", "include loop.conf", "maximum nesting depth exceeded"},
		{"a file that includes itself often", "include tree.conf", "maximum nesting depth exceeded"},
		{"a list that includes itself", "local @list all trust", "maximum nesting depth exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, dir, "hba.conf", tt.text)
			if _, err := Load(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
		})
	}
	if _, err := Load(filepath.Join(dir, "nothing.conf")); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestWhatIsReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "hba.conf", "include big.conf\ninclude big.conf\nlocal all all trust\n")
	write(t, dir, "big.conf", strings.Repeat("#", 1000))
	rd := &reader{open: openFile, left: 1100}
	if _, err := rd.rules(path); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a file is included twice and counts once: %v", err)
	}
}

func TestFilesWithPasswordsAreNamed(t *testing.T) {
	dir := t.TempDir()
	const secret = "host all all all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=secret\n"
	inner := write(t, dir, "inner.conf", secret+secret)
	path := write(t, dir, "hba.conf", "host all all all ldap ldapserver=h ldapbasedn=x\ninclude inner.conf\n")
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Secrets(); len(got) != 1 || got[0] != inner {
		t.Errorf("got %q, want %s", got, inner)
	}
	o, err := ParseOptions(LDAP, "ldapserver=h ldapbasedn=x ldapbindpasswd=secret")
	if err != nil {
		t.Fatal(err)
	}
	if got := Implicit(LDAP, o).Secrets(); got != nil {
		t.Errorf("auth_type: got %q", got)
	}
}
