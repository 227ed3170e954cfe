package hba

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// handwritten is what PostgreSQL 15 and we must read alike, or both refuse.
const handwritten = `local all all trust
"local" "all" "all" "trust"
local all
local
local all all
local all all trust trust
host all all
host all all all
local all all 127.0.0.1/32 trust
local,host all all trust
local ,host all all trust
local all all trust,md5
remote all all trust
LOCAL all all trust
local all all Trust
local a,b , c trust
local a, b ,c trust
local a,b, c trust
local , a,,b c,, trust
local "a b" "c,d" trust
local "a""b" c"d"e trust
local a"b c" "" trust
local a""b """" trust
local "unclosed all trust
local "unclosed" "all trust
local a#b all trust
local "a#b" all trust
local all all trust# comment
# only a comment
   	
local all all \
trust
local all \
\
all trust
local "a\
b" all trust
local a\b c\\d trust
local all all trust \
# a comment that goes on \
local all all reject
local all all trust
local +group,"+group",+,all +group,"+group",+,sameuser trust
local sameuser,samerole,samegroup,replication,"replication" samerole reject
local @ all trust
local "@x" all trust
local all all ident
local all all ident map=m
local all all peer
local all all peer map=a map=b
local all all peer map
local all all peer map=
local all all peer "map=a b"
local all all peer map="a b"
local all all peer map=a,map=b
local all all peer unknown=1
local all all peer =1
local all all trust map=x
local all all cert
local all all trust clientcert=verify-ca
local all all trust clientname=CN
host all all 127.0.0.1/32 trust
host all all 127.0.0.1/0 trust
host all all 127.0.0.1/33 trust
host all all 127.0.0.1/-1 trust
host all all 127.0.0.1/ trust
host all all 127.0.0.1/x trust
host all all 127.0.0.1/8/8 trust
host all all 127.0.0.1/08 trust
host all all 127.0.0.1/+8 trust
host all all "127.0.0.1/8" trust
host all all 127.0.0.1,127.0.0.2 trust
host all all 127.0.0.1 trust
host all all 127.0.0.1
host all all 127.0.0.1 255.255.255.255 trust
host all all 127.0.0.1 255.255.255.255
host all all 127.0.0.1 255.0.255.0 trust
host all all 127.0.0.1 0.0.0.0 trust
host all all 127.0.0.1 ::1 trust
host all all 127.0.0.1 255.0.0.0,255.0.0.0 trust
host all all 127.0.0.1/8 255.0.0.0 trust
host all all 10.9.8.7/8 trust
host all all ::1/128 trust
host all all ::1/129 trust
host all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff trust
host all all ::1 255.0.0.0 trust
host all all ::/0 trust
host all all ::ffff:1.2.3.4/128 trust
host all all fe80::1:2/10 trust
host all all 2001:DB8::/32 trust
host all all 1:2:3:4:5:6:7:8/127 trust
host all all all trust
host all all "all" trust
host all all samehost trust
host all all samenet trust
host all all "samenet" trust
host all all SAMENET trust
host all all all,samenet trust
host all all www.example.com trust
host all all .example.com trust
host all all Example-9.com trust
host all all www.example.com/8 trust
host all all /8 trust
host all all all peer
host all all all cert
hostssl all all all cert
hostssl all all all cert map=m
hostssl all all all cert clientcert=verify-full
hostssl all all all cert clientcert=verify-ca
hostssl all all all cert clientcert=no-verify
hostssl all all all md5 clientcert=verify-ca
hostssl all all all md5 clientcert=verify-full clientname=DN
hostssl all all all md5 clientcert=1
hostssl all all all md5 clientcert=
hostssl all all all md5 clientname=cn
hostssl all all all md5 clientname=CN
hostnossl all all all md5
hostnossl all all all md5 clientcert=verify-ca
hostgssenc all all all md5
hostnogssenc all all all scram-sha-256
hostall all all all md5
hosts all all all md5
host all all all md5
host all all all password
host all all all scram-sha-256
host all all all scram-sha-256 ldapserver=x
host all all all scram-sha-1
host all all all reject
host all all all ldap
host all all all ldap ldapserver=x
host all all all ldap ldapserver=x ldapprefix=a
host all all all ldap ldapserver=x ldapprefix= 
host all all all ldap ldapserver="x y" ldapprefix="uid=" ldapsuffix=",dc=example, dc=net"
host all all all ldap ldapserver=x ldapsuffix=a ldapport=0
host all all all ldap ldapserver=x ldapsuffix=a ldapport=x
host all all all ldap ldapserver=x ldapsuffix=a ldapport=389
host all all all ldap ldapserver=x ldapsuffix=a ldaptls=1 ldapscheme=ldap
host all all all ldap ldapserver=x ldapbasedn=a
host all all all ldap ldapserver=x ldapbasedn=a ldapprefix=x
host all all all ldap ldapserver=x ldapbasedn=a ldapbinddn=b ldapbindpasswd="c #d"
host all all all ldap ldapserver=x ldapbasedn=a ldapsearchattribute=uid
host all all all ldap ldapserver=x ldapbasedn=a ldapsearchfilter="(uid=$username)"
host all all all ldap ldapserver=x ldapbasedn=a ldapsearchfilter=x ldapsearchattribute=y
host all all all ldap ldapserver=x ldapsearchattribute=uid
host all all all ldap ldapserver=x ldapprefix=x ldapbindpasswd=y
host all all all ldap ldapurl=ldap://h
host all all all ldap ldapurl=ldap://h/
host all all all ldap ldapurl=ldap://h/dc=x
host all all all ldap ldapurl=ldap://h:390/dc=x?uid?one
host all all all ldap ldapurl="ldaps://h/dc=x%20y?uid,cn?sub"
host all all all ldap ldapurl="ldap://h/dc=x??sub?(uid=$username)"
host all all all ldap ldapurl="ldap://h/dc=x?uid?sub?(uid=$username)"
host all all all ldap ldapurl=ldap://h/dc=x?uid?wrong
host all all all ldap ldapurl=ldap:///dc=x ldapserver=q
host all all all ldap ldapurl=http://h/dc=x
host all all all ldap ldapurl=h
host all all all ldap ldapurl=ldap://h/dc=x ldapprefix=y
host all all all ldap ldapserver=x ldapbasedn=y ldapurl=ldap://h/dc=x
host all all all oauth2 issuer=x
include_nothing x
`

func TestPostgreSQLReadsTheSameLines(t *testing.T) {
	long := "local " + strings.Repeat("a", maxToken) + " all trust\n"
	if serverVersion(t) < 16 {
		long += "local " + strings.Repeat("a", maxToken+1) + " all trust\n"
	}
	compare(t, handwritten+long)
}

// TestDifferencesFromPostgreSQL is the whole list of them, save for files that are included: a line
// that only one takes.
func TestDifferencesFromPostgreSQL(t *testing.T) {
	type difference struct {
		name string
		line string
		ours bool // we take it
	}
	differences := []difference{
		{"an address in a notation of its own: three numbers of 127.0.0.1", "host all all 127.1/8 trust", false},
		{"one number is an address, and 10/8 is not 10.0.0.0/8", "host all all 10/8 trust", false},
		{"octal numbers", "host all all 010.0.0.1/32 trust", false},
		{"hexadecimal numbers", "host all all 0x7f.0.0.1/32 trust", false},
		{"a mistyped address that would be a host's name", "host all all 256.0.0.1 trust", false},
		{"a mistyped address with a number too many", "host all all 1.2.3.4.5 trust", false},
		{"a name that is empty", `host all all "" trust`, false},
		{"a zone of no interface, which would be a host's name", "host all all fe80::1%nosuch trust", false},
		{"gss", "host all all all gss", false},
		{"ident over TCP", "host all all all ident", false},
		{"pam", "host all all all pam", false},
		{"radius", `host all all all radius radiusservers=127.0.0.1 radiussecrets=x`, false},
		{"ldap without a server, which DNS would tell", "host all all all ldap ldapbasedn=dc=x", false},
		{"LDAP of a scheme that does not exist", "host all all all ldap ldapserver=h ldapprefix=x ldapscheme=http", false},
		{"digits in front of something else as LDAP's port", "host all all all ldap ldapserver=h ldapprefix=x ldapport=389x", false},
		{"a port that does not exist", "host all all all ldap ldapserver=h ldapprefix=x ldapport=65536", false},
	}
	if serverVersion(t) < 16 {
		differences = append(differences, difference{"regular expressions (16), of which this one is wrong", "host /( all all trust", false})
	}
	if serverVersion(t) < 18 {
		differences = append(differences, difference{"oauth (18)", "host all all all oauth issuer=x scope=y", true})
	}
	var text strings.Builder
	for _, d := range differences {
		text.WriteString(d.line + "\n")
	}
	theirs, ours := pgLines(t, text.String()), ourLines(t, text.String())
	for i, d := range differences {
		number := fmt.Sprint(i + 1)
		if strings.HasSuffix(theirs[number].Error, unsupported) {
			continue
		}
		if a, b := theirs[number].Method != "", ours[number].Method != ""; a == b || b != d.ours {
			t.Errorf("%s: %s\nPostgreSQL %+v\nwe         %+v", d.name, d.line, theirs[number], ours[number])
		}
	}
}

// TestPostgreSQLReadsTheSameRandomLines strings words of the format together, rightly and wrongly.
func TestPostgreSQLReadsTheSameRandomLines(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for range 3000 {
		text.WriteString(randomLine(rnd) + "\n")
	}
	if taken := compare(t, text.String()); taken < 500 {
		t.Errorf("only %d lines were taken by both: the words are badly chosen", taken)
	}
}

func randomLine(rnd *rand.Rand) string {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	noise := func() string {
		if rnd.IntN(12) > 0 {
			return ""
		}
		return pick(",", " , ", `"`, `""`, "#", "\\", " \\\n", "\t", "\r", "=", "@", "/8", "all", "x y", "é")
	}
	names := func() string {
		s := pick("all", `"all"`, "sameuser", "replication", "+g", `"+g"`, "a", `"b c"`, `d"e,f"`, "-")
		for rnd.IntN(3) == 0 {
			s += pick(",", ", ", " ,") + pick("all", "h", `"i,""j"`, "+k")
		}
		return s
	}
	words := []string{pick("local", "host", "host", "hostssl", "hostnossl", "hostgssenc"), names(), names()}
	if words[0] != "local" || rnd.IntN(10) == 0 {
		words = append(words, pick("all", "samenet", "10.0.0.0/8", "::1/128", "1.2.3.4 255.255.0.0", "fe80:: ffff::", ".example.com", "h", "1.2.3.4"))
	}
	words = append(words, pick("trust", "reject", "md5", "scram-sha-256", "password", "peer", "cert", "ldap"))
	for rnd.IntN(3) == 0 {
		words = append(words, pick("map=m", "clientcert=verify-ca", "clientcert=verify-full", "clientname=DN", "ldapserver=h", `ldapprefix="uid="`, "ldapbasedn=dc=x", "ldapport=1", "x=y", "z"))
	}
	if words[len(words)-1] == "ldap" {
		words = append(words, "ldapserver=s", pick("ldapprefix=p", "ldapbasedn=b"))
	}
	for i := range words {
		words[i] = noise() + words[i] + noise()
	}
	return strings.Join(words, pick(" ", " ", "\t", "  "))
}

func TestPostgreSQLReadsTheSameUserMaps(t *testing.T) {
	text := `m a b
m "a b" c
m a
m
m a,b c
m,n a b
m a b,c
m a b c d
m /^(.*)@x$ \1
"m" "/^a" "all"
m /( x
m a +g
m all all
"" a b
m "" ""
m a # b
m @ b
m a \
b
`
	writeFile(t, "pg_ident.conf", text)
	theirs := map[string]bool{}
	for _, row := range query(t, "SELECT line_number, error IS NULL FROM pg_ident_file_mappings") {
		theirs[row[0]] = row[1] == "t"
	}
	rd := &reader{open: single("f", []byte(text)), left: maxBytes, alone: true}
	lines, err := rd.read("f", 0)
	if err != nil || len(rd.faults) > 0 {
		t.Fatal(err, rd.faults)
	}
	if len(lines) != len(theirs) {
		t.Errorf("%d lines, PostgreSQL has %d", len(lines), len(theirs))
	}
	for _, l := range lines {
		_, _, err := parseIdentLine(l)
		if want := theirs[fmt.Sprint(l.number)]; want != (err == nil) {
			t.Errorf("line %d %v: taken by PostgreSQL %t, by us: %v", l.number, l.columns, want, err)
		}
	}
}
