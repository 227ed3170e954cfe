package monitor

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// connection is both ends of a TCP connection from this machine, as the kernel's tables have it: the client's first.
type connection struct{ client, pooler netip.AddrPort }

// local tells whether a connection comes from this machine.
func (c connection) local() bool {
	return c.client.IsValid() && (c.client.Addr().Unmap().IsLoopback() || c.client.Addr().Unmap() == c.pooler.Addr().Unmap())
}

// processes finds out which process of this machine a client is. Whatever cannot be found out is not known.
type processes struct {
	root string // /proc
	own  int    // our process
	now  func() time.Time
}

// scanMost bounds a search through all processes: there may be very many, with very many files.
const scanMost = time.Second

// find finds the processes at the other ends of connections, all in one search.
func (p *processes) find(connections []connection) map[connection]int {
	sockets := map[string]connection{} // by what /proc calls them
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		p.findSockets(table, connections, sockets)
	}
	found := map[connection]int{}
	if len(sockets) == 0 {
		return found
	}
	until := p.now().Add(scanMost)
	for _, pid := range p.list() {
		if len(sockets) == 0 || p.now().After(until) {
			break
		}
		for _, name := range p.files(pid) {
			if c, ok := sockets[name]; ok {
				found[c] = pid
				delete(sockets, name)
			}
		}
	}
	return found
}

// findSockets looks the clients' ends up in one of the kernel's tables.
func (p *processes) findSockets(table string, connections []connection, sockets map[string]connection) {
	f, err := os.Open(filepath.Join(p.root, table))
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	wanted := make(map[netip.AddrPort]connection, len(connections))
	for _, c := range connections {
		wanted[netip.AddrPortFrom(c.client.Addr().Unmap(), c.client.Port())] = c
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 10 {
			continue
		}
		c, ok := wanted[kernelAddress(columns[1])]
		if !ok {
			continue
		}
		far := kernelAddress(columns[2])
		if c.pooler.IsValid() && far != netip.AddrPortFrom(c.pooler.Addr().Unmap(), c.pooler.Port()) {
			continue
		}
		if inode := columns[9]; inode != "0" { // 0: it is closed already
			sockets["socket:["+inode+"]"] = c
		}
	}
}

// littleEndian is the machine's order of bytes, in which the kernel prints addresses.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// kernelAddress reads 0100007F:1538: words of four bytes in the machine's order, then the port.
func kernelAddress(text string) netip.AddrPort {
	address, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil {
		return netip.AddrPort{}
	}
	for word := range slices.Chunk(b, 4) {
		if littleEndian {
			slices.Reverse(word)
		}
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n))
}

// list is the processes that there are. Ours has most files and is no client, so it comes last.
func (p *processes) list() []int {
	d, err := os.Open(p.root)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != p.own {
			pids = append(pids, pid)
		}
	}
	return append(pids, p.own)
}

// files is what a process has open, as far as we may know.
func (p *processes) files(pid int) []string {
	dir := filepath.Join(p.root, strconv.Itoa(pid), "fd")
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var files []string
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && strings.HasPrefix(to, "socket:") {
			files = append(files, to)
		}
	}
	return files
}

const (
	readCommand  = 8192 // bytes of a command line that are looked at
	shownCommand = 200  // and shown
)

// command is the command line of a process, without secrets. "": not known.
func (p *processes) command(pid int) string {
	f, err := os.Open(filepath.Join(p.root, strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	line, err := io.ReadAll(io.LimitReader(f, readCommand))
	if err != nil {
		return ""
	}
	return maskCommand(strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
}

const masked = "***"

var (
	// secretOption is an option whose value is the next argument.
	secretOption = regexp.MustCompile(`(?i)^--?[\w-]*(password|passwd|passphrase|pwd|secret|token|api[-_]?key)$`)
	// shortPassword is MySQL's way, which other programs follow. That psql's -p5432 looks alike costs its port.
	shortPassword = regexp.MustCompile(`^-p.+`)
	secretValue   = regexp.MustCompile(`(?i)((?:password|passwd|passphrase|pwd|secret|token|api[-_]?key)[\w-]*["']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\S+)`)
	// secretWhole is an argument that has nothing but a secret behind its equals sign, blanks included.
	secretWhole = regexp.MustCompile(`(?is)^(-{0,2}[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|api[-_]?key)[\w-]*=).*`)
	secretURL   = regexp.MustCompile(`(://[^/\s:@]*:)\S*@`)
)

// maskCommand is a command line in which secrets are replaced by stars. What may be one counts as one.
func maskCommand(args []string) string {
	shown := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if shortPassword.MatchString(arg) && i > 0 {
			arg = "-p" + masked
		}
		arg = secretWhole.ReplaceAllString(arg, "${1}"+masked)
		arg = secretURL.ReplaceAllString(arg, "${1}"+masked+"@")
		arg = secretValue.ReplaceAllString(arg, "${1}"+masked)
		shown = append(shown, arg)
		if secretOption.MatchString(arg) && i+1 < len(args) {
			shown = append(shown, masked)
			i++
		}
	}
	return cutText(strings.Join(shown, " "), shownCommand)
}
