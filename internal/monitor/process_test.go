package monitor

import (
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
	if len(list) != 5 || strings.Contains(s.log.String(), "geheim") || !strings.Contains(s.log.String(), "import.py") {
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

func TestSecretsInCommandsAreMasked(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"psql|-h|db|--dbname=shop", "psql -h db --dbname=shop"},
		{"mysql|-psecret|-u|root", "mysql -p*** -u root"},
		{"app|--password=secret|x", "app --password=*** x"},
		{"app|--password=two secret words|x", "app --password=*** x"},
		{"app|--password|secret|x", "app --password *** x"},
		{"app|--db-password|secret", "app --db-password ***"},
		{"app|-Dspring.datasource.password=secret", "app -Dspring.datasource.password=***"},
		{"psql|host=db password=secret dbname=shop", "psql host=db password=*** dbname=shop"},
		{"psql|host=db password='two secret words' dbname=shop", "psql host=db password=*** dbname=shop"},
		{`psql|host=db password = 'it\'s secret' dbname=shop`, "psql host=db password = *** dbname=shop"},
		{"psql|postgres://anna:secret@db:5432/shop", "psql postgres://anna:***@db:5432/shop"},
		{"psql|postgres://anna:se@cr/et@db/shop", "psql postgres://anna:***@db/shop"},
		{"psql|postgres://:secret@db/shop", "psql postgres://:***@db/shop"},
		{"psql|postgres://db/shop?user=a&password=secret", "psql postgres://db/shop?user=a&password=***"},
		{"sh|-c|PGPASSWORD=secret psql -h db", "sh -c PGPASSWORD=***"},
		{"sh|-c|cd /; PGPASSWORD='a secret' psql", "sh -c cd /; PGPASSWORD=*** psql"},
		{"env|MYSQL_PWD=secret|run", "env MYSQL_PWD=*** run"},
		{"curl|--token|secret|{\"api_key\": \"secret\"}", `curl --token *** {"api_key": ***}`},
		{"app|--PASSWORD=Secret", "app --PASSWORD=***"},
		{"app|new\nline", "app new line"},
		{"", ""},
	} {
		got := maskCommand(strings.Split(tc.args, "|"))
		if got != tc.want || strings.Contains(got, "ecret") {
			t.Errorf("%s\n got %s\nwant %s", tc.args, got, tc.want)
		}
	}
	if got := maskCommand([]string{strings.Repeat("ä", 300)}); len(got) > shownCommand || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
