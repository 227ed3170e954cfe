package monitor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pooler/frontend"
	"pooler/internal/pgtest"
)

func TestMain(m *testing.M) {
	if address := os.Getenv("MONITOR_TEST_CALLS"); address != "" {
		call(address)
		return
	}
	pgtest.Main(m)
}

// call is what a child process does: it connects, and stays until nobody listens any more.
func call(address string) {
	network, address, _ := strings.Cut(address, ":")
	c, err := net.Dial(network, address)
	if err != nil {
		return
	}
	_, _ = c.Read(make([]byte, 1)) // until the test ends
}

// caller is a process that is connected to a listener.
func caller(t *testing.T, l net.Listener) (pid int, c net.Conn) {
	t.Helper()
	child := exec.Command(os.Args[0], "--password=geheim", "import.py")
	child.Env = append(os.Environ(), "MONITOR_TEST_CALLS="+l.Addr().Network()+":"+l.Addr().String())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill() // it may have ended by itself
		_ = child.Wait()
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return child.Process.Pid, c
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func TestLocalProcessesOfLeaks(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	id := 0
	want := map[frontend.SessionID]int{}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} { // the last one takes IPv4 on a socket of IPv6
		l := listen(t, "tcp", address)
		if address == ":0" {
			_, port, _ := net.SplitHostPort(l.Addr().String())
			l = dialled{l, "127.0.0.1:" + port}
		}
		pid, c := caller(t, l)
		id++
		info := s.forgotten(id, "idle", 2*time.Hour)
		info.Remote, info.Local = addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
		want[info.ID] = pid
		s.over = append(s.over, info)
	}
	pid, c := caller(t, listen(t, "unix", filepath.Join(t.TempDir(), "socket")))
	id++
	info := s.forgotten(id, "idle", 2*time.Hour)
	info.Remote, info.Local, info.PeerPID = netip.AddrPort{}, netip.AddrPort{}, peerOf(t, c)
	want[info.ID] = pid
	s.over = append(s.over, info)

	stranger := s.forgotten(99, "idle", 2*time.Hour)
	m.leaks.note(s.clock, ids(append(s.over, stranger)), append(s.over, stranger))
	list := m.Leaks()
	for _, l := range list {
		if l.PID != want[l.Client] {
			t.Errorf("client %d from %s is process %d, want %d", l.Client, l.Address, l.PID, want[l.Client])
		}
		if l.Client == 99 {
			if l.Command != "" {
				t.Errorf("a client from elsewhere is %q", l.Command)
			}
			continue
		}
		if !strings.Contains(l.Command, "--password=*** import.py") || strings.Contains(l.Command, "geheim") {
			t.Errorf("command %q", l.Command)
		}
	}
	if len(list) != 5 || strings.Contains(s.log.String(), "geheim") || strings.Contains(s.log.String(), "import.py") {
		t.Errorf("%d are listed; the log says\n%s", len(list), s.log.String())
	}
}

// dialled is a listener that is to be called at another address than it says.
type dialled struct {
	net.Listener
	at string
}

func (d dialled) Addr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", d.at)
	if err != nil {
		panic(err)
	}
	return a
}

func ids(clients []frontend.ClientInfo) (list []frontend.SessionID) {
	for i := range clients {
		list = append(list, clients[i].ID)
	}
	return list
}

func peerOf(t *testing.T, c net.Conn) (pid int) {
	t.Helper()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestProcessesAreSearchedRarely(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	m.leaks.processes.root = t.TempDir() // nothing can be known here
	add := func(id int) {
		info := s.forgotten(id, "idle", 2*time.Hour)
		info.Remote = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(40000+id))
		s.over = append(s.over, info)
		m.sweep(s.clock)
	}
	add(1)
	first := m.leaks.lookedUp
	if first.IsZero() || len(m.leaks.searched) != 0 {
		t.Errorf("not searched at once: %+v", m.leaks.searched)
	}
	s.pass(sweepEvery)
	add(2)
	s.pass(sweepEvery)
	add(3)
	if !m.leaks.lookedUp.Equal(first) || len(m.leaks.searched) != 2 {
		t.Errorf("%d wait to be searched", len(m.leaks.searched))
	}
	m.sweep(s.pass(lookUpEvery))
	if m.leaks.lookedUp.Equal(first) || len(m.leaks.searched) != 0 {
		t.Errorf("%d wait to be searched", len(m.leaks.searched))
	}
	for _, l := range m.Leaks() {
		if l.PID != 0 || l.Command != "" {
			t.Errorf("%+v", l)
		}
	}
}

func TestKernelAddresses(t *testing.T) {
	if !littleEndian {
		t.Log("as on little-endian machines")
	}
	for text, want := range map[string]string{
		"0100007F:1538":                         "127.0.0.1:5432",
		"0000000000000000FFFF00000100007F:A0B1": "127.0.0.1:41137",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"B80D0120000000000000000001000000:FFFF": "[2001:db8::1]:65535",
	} {
		if got := kernelAddress(text); littleEndian && got.String() != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "nonsense", "0100007F", "0100007F:xyz", "01:0050", ":"} {
		if got := kernelAddress(text); got.Addr().IsValid() {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// processTree is a /proc of processes that have a connection each, from as many ports from 40000 on.
func processTree(t *testing.T, pids ...int) (root string, connections []connection) {
	t.Helper()
	root = t.TempDir()
	table := "heading\n"
	for i, pid := range pids {
		dir := filepath.Join(root, fmt.Sprint(pid), "fd")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", 100+i), filepath.Join(dir, "3")); err != nil {
			t.Fatal(err)
		}
		loopback := "0100007F"
		if !littleEndian {
			loopback = "7F000001"
		}
		table += fmt.Sprintf("0: %s:%04X %s:1920 01 0:0 0:0 0 0 0 %d 1\n", loopback, 40000+i, loopback, 100+i)
		at := netip.MustParseAddr("127.0.0.1")
		connections = append(connections, connection{netip.AddrPortFrom(at, uint16(40000+i)), netip.AddrPortFrom(at, 6432)})
	}
	if err := os.Mkdir(filepath.Join(root, "net"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "net", "tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	return root, connections
}

func TestSearchesThatTakeLong(t *testing.T) {
	s := newScene()
	m := s.monitor("")
	pids := []int{101, 102, 103, 104, 105, 106}
	var ends []connection
	m.leaks.processes.root, ends = processTree(t, pids...)
	m.leaks.processes.now = func() time.Time { return s.pass(300 * time.Millisecond) } // as long as a look at a process takes
	for i, c := range ends {
		info := s.forgotten(i, "idle", 2*time.Hour)
		info.Remote, info.Local = c.client, c.pooler
		s.over = append(s.over, info)
	}
	found := func() (n int) {
		for _, l := range m.Leaks() {
			if l.PID != 0 {
				n++
				if l.PID != pids[l.Port-40000] {
					t.Errorf("the client at port %d is process %d", l.Port, l.PID)
				}
			}
		}
		return n
	}
	begun := s.now()
	m.sweep(begun)
	took := s.now().Sub(begun) - 300*time.Millisecond // which is how it sees it
	first := found()
	if first == 0 || first == len(pids) || len(m.leaks.searched) != len(pids)-first {
		t.Fatalf("%d were found, %d are searched", first, len(m.leaks.searched))
	}
	m.sweep(begun.Add(20*took - time.Second))
	if found() != first {
		t.Error("it was searched again too soon")
	}
	m.sweep(begun.Add(20*took + time.Second))
	if n := found(); n != len(pids) || len(m.leaks.searched) != 0 {
		t.Errorf("%d were found, %d are searched", n, len(m.leaks.searched))
	}

	m.leaks.processes.now = func() time.Time { return s.pass(time.Hour) } // there is never time
	info := s.forgotten(99, "idle", 2*time.Hour)
	info.Remote, info.Local = ends[0].client, ends[0].pooler
	s.over = append(s.over, info)
	for want := 1; want >= 0; want-- {
		m.sweep(s.pass(100 * time.Hour))
		if n := len(m.leaks.searched); n != want {
			t.Errorf("%d are searched, want %d", n, want)
		}
	}
}

func TestSecretsInCommandsAreMasked(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"psql|-h|db|--dbname=shop", "psql -h db --dbname=shop"},
		{"/usr/bin/python3|-m|shop.report|--since|2026-01-01", "/usr/bin/python3 -m shop.report --since 2026-01-01"},
		{"psql|-U|anna|-h|10.0.0.7|shop", "psql -U anna -h 10.0.0.7 shop"},
		{"mysql|-pgeheim|-u|root", "mysql -p*** -u root"},
		{"mysql|-p|geheim|-u|root", "mysql -p *** -u root"},
		{"app|-P|geheim|x", "app -P *** x"},
		{"app|-Pgeheim|x", "app -P*** x"},
		{"sshpass|-p|geheim|ssh|host", "sshpass -p *** ssh host"},
		{"sh|-c|sshpass -pgeheim ssh host", "sh -c sshpass ***"},
		{"sh|-c|mysql -u root -p 'a geheim' shop", "sh -c mysql -u root -p ***"},
		{"sh|-c|mysql -p|geheim", "sh -c mysql -p ***"},
		{"app|--password=geheim|x", "app --password=*** x"},
		{"app|--password=two geheim words|x", "app --password=*** x"},
		{"app|--password|geheim|x", "app --password *** x"},
		{"app|--password|--|geheim|x", "app --password *** *** x"},
		{"app|--password|--token|geheim|x", "app --password *** *** x"},
		{"app|-password|geheim|x", "app -p*** *** x"},
		{"plink|-pw|geheim|x", "plink -p*** *** x"},
		{"app|--db-password|geheim", "app --db-password ***"},
		{"app|--db-pass|geheim|x", "app --db-pass *** x"},
		{"app|--pass=geheim|x", "app --pass=*** x"},
		{"app|--pass2|geheim|x", "app --pass2 *** x"},
		{"app|--auth|geheim|x", "app --auth *** x"},
		{"app|--ssl-key|geheim|x", "app --ssl-key *** x"},
		{"env|DB_PASS=geheim|app", "env DB_PASS=*** app"},
		{"env|DB_PASS_LIVE=geheim|app", "env DB_PASS_LIVE=*** app"},
		{"env|apiKeyValue=geheim|app", "env apiKeyValue=*** app"},
		{"app|--credentials=geheim|x", "app --credentials=*** x"},
		{"app|--credential|geheim|x", "app --credential *** x"},
		{"app|-Dspring.datasource.password=geheim", "app -Dspring.datasource.password=***"},
		{"sh|-c|app --password geheim", "sh -c app --password ***"},
		{"app: worker --password 'a geheim' --x", "app: worker --password ***"},
		{"app: worker --db-pass=geheim --x", "app: worker --db-pass=***"},
		{"psql|host=db password=geheim dbname=shop", "psql host=db password=***"},
		{"psql|host=db password='two geheim words' dbname=shop", "psql host=db password=***"},
		{`psql|host=db password = 'it\'s geheim' dbname=shop`, "psql host=db password = ***"},
		{"python|-c|connect(password = 'ge' + 'geheim')", "python -c connect(password = ***"},
		{`python|-c|connect(**{"password":"ge" "geheim"})`, `python -c connect(**{"password":***`},
		{"python|-c|connect('password', 'geheim')", "python -c connect('password'***"},
		{"app|password|=|'ge'|+|'geheim'|x", "app password *** *** *** *** x"},
		{"psql|-c|alter role anna password 'geheim'", "psql -c alter role anna password ***"},
		{"mysql|-e|create user anna identified by 'geheim'", "mysql -e create user anna identified by ***"},
		{"curl|-H|Authorization: Basic geheim", "curl -H Authorization: ***"},
		{"psql|postgres://anna:geheim@db:5432/shop", "psql postgres://anna:***@db:5432/shop"},
		{"psql|postgres://anna:ge@he/geheim@db/shop", "psql postgres://anna:***@db/shop"},
		{"psql|postgres://:geheim@db/shop", "psql postgres://:***@db/shop"},
		{"psql|postgres://anna@db/shop", "psql postgres:***@db/shop"},
		{"psql|postgres://db/shop?user=a&password=geheim", "psql postgres://db/shop?user=a&password=***"},
		{"app|--dsn|u:geheim@tcp(h)/db", "app --dsn u:***@tcp(h)/db"},
		{"app|--dsn=u:a geheim@tcp(h)/db", "app --dsn=u:***@tcp(h)/db"},
		{"sh|-c|/usr/bin/app --dsn u:geheim@tcp(h)/db", "sh -c /usr/bin/app --dsn u:***@tcp(h)/db"},
		{"sqlplus|anna/geheim@host", "sqlplus anna/***@host"},
		{"sh|-c|PGPASSWORD=geheim psql -h db", "sh -c PGPASSWORD=***"},
		{"sh|-c|cd /; PGPASSWORD='a geheim' psql", "sh -c cd /; PGPASSWORD=***"},
		{"env|MYSQL_PWD=geheim|run", "env MYSQL_PWD=*** run"},
		{"curl|--token|geheim|{\"api_key\": \"geheim\"}", `curl --token *** {"api_key": ***`},
		{"app|--PASSWORD=Geheim", "app --PASSWORD=***"},
		{"app|--password=\xffgeheim\ngeheim", "app --password=***"},
		{"app|new\nline", "app new line"},
		{"", ""},
	} {
		got := maskCommand(strings.Split(tc.args, "|"))
		if got != tc.want || strings.Contains(got, "eheim") {
			t.Errorf("%s\n got %s\nwant %s", tc.args, got, tc.want)
		}
	}
	if got := maskCommand([]string{strings.Repeat("ä", 300)}); len(got) > shownCommand || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
