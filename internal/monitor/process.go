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
	next int // process where a search goes on for which there was no time
}

// scanMost bounds a search through all processes: there may be very many, with very many files.
const scanMost = time.Second

// find finds the processes at the other ends of connections, all in one search. It reports whether there was time for all
// processes; if not, the next search begins with the others.
func (p *processes) find(connections []connection) (found map[connection]int, whole bool) {
	sockets := map[string]connection{} // by what /proc calls them
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		p.findSockets(table, connections, sockets)
	}
	found = map[connection]int{}
	if len(sockets) == 0 {
		return found, true
	}
	until := p.now().Add(scanMost)
	pids := p.list()
	if i := slices.Index(pids, p.next); i > 0 {
		pids = append(pids[i:], pids[:i]...)
	}
	for _, pid := range pids {
		if len(sockets) == 0 {
			break
		}
		if p.now().After(until) {
			p.next = pid
			return found, false
		}
		for _, name := range p.files(pid) {
			if c, ok := sockets[name]; ok {
				found[c] = pid
				delete(sockets, name)
			}
		}
	}
	p.next = 0
	return found, true
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

// namesIn is what is in a directory, as far as we may know.
func namesIn(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1)
	return names
}

// list is the processes that there are. Ours has most files and is no client, so it comes last.
func (p *processes) list() []int {
	var pids []int
	for _, name := range namesIn(p.root) {
		if pid, err := strconv.Atoi(name); err == nil && pid != p.own {
			pids = append(pids, pid)
		}
	}
	return append(pids, p.own)
}

// files is what a process has open, as far as we may know.
func (p *processes) files(pid int) []string {
	dir := filepath.Join(p.root, strconv.Itoa(pid), "fd")
	var files []string
	for _, name := range namesIn(dir) {
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

// secretWord is what names of secrets contain.
const secretWord = `(?:pass(?:w(?:or)?d|phrase|code)?|pwd?|secret|token|key|credential|auth|bearer|identified by)`

var (
	// secretLast is a name at the end of an argument: the next one is the secret.
	secretLast = regexp.MustCompile(`(?i)` + secretWord + `s?\d*[^\w./-]*$`)
	// secretRest is a name within an argument. Where the secret ends is not to be known, so the rest goes.
	secretRest = regexp.MustCompile(`(?is)(` + secretWord + `(?:[^\s=:]*\s*[=:]|s?\d*[^\w./-])\s*).+`)
	// shortOption is what many programs call a password. That it is the port of others costs that.
	shortOption = regexp.MustCompile(`(?s)((?:^|\s)-[pP][\s=]*)[^\s=].*`)
	shortLast   = regexp.MustCompile(`(?:^|\s)-[pP]\s*$`)
	// secretUser is user:secret@ and user/secret@, with or without what makes it a URL.
	secretUser = regexp.MustCompile(`(?is)((?:[a-z][\w+.-]*://)?[^\s:/@]*:).*@|([^\s:/@]*/)\S+@`)
	meaning    = regexp.MustCompile(`[\pL\pN]`)
)

// maskCommand is a command line in which secrets are replaced by stars. What may be one counts as one: it is better to
// show too little.
func maskCommand(args []string) string {
	shown := make([]string, 0, len(args))
	secret, behind := false, false // this argument is one, the last one was
	for i, arg := range args {
		marks := !meaning.MatchString(arg) // such as = and + , or -- : what is meant comes behind it
		last := i > 0 && secretLast.MatchString(arg) || shortLast.MatchString(arg)
		if secret || behind && marks {
			shown = append(shown, masked)
			secret, behind = marks || last, true
			continue
		}
		secret, behind = last, false
		arg = secretUser.ReplaceAllString(arg, "${1}${2}"+masked+"@")
		arg = secretRest.ReplaceAllString(arg, "${1}"+masked)
		arg = shortOption.ReplaceAllString(arg, "${1}"+masked)
		shown = append(shown, arg)
	}
	return cutText(strings.Join(shown, " "), shownCommand)
}
