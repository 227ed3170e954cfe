package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pooler/config"
)

// harden gives up what a pooler never needs. What the system does not grant is missed by no client, so it is only returned.
func harden() error {
	unix.Umask(0o077) // who may connect to the Unix socket is unix_socket_mode's
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		// That limit does not hold for a core_pattern that is a program. This does, and lets no process of the same user
		// read the memory of this one.
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}

// account is whom the key user names.
type account struct {
	name     string
	uid, gid int
	groups   []int // the others
	lost     bool  // the group of root, which was one of them
}

// lookUp finds the account that a pooler started by root becomes; nil: it stays who it is. Anyone but root may name himself.
func lookUp(name string) (*account, error) {
	if name == "" {
		return nil, nil // none is wanted
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("find the account of the key user: %w", err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user: the groups of %s: %w", name, err)
	}
	a, err := accountOf(name, append([]string{u.Uid, u.Gid}, groups...))
	if err != nil {
		return nil, err
	}
	me := os.Geteuid()
	if a.uid == me && me != 0 {
		return nil, nil // that is who it is
	}
	return a, a.fit(me)
}

// fit tells why the user me cannot or must not become that account; nil: it may.
func (a *account) fit(me int) error {
	switch {
	case a.uid == 0:
		return fmt.Errorf("user: %s is root; name an account without privileges", a.name)
	case a.gid == 0:
		return fmt.Errorf("user: the group of %s is root's; name an account with a group of its own", a.name)
	case me != 0:
		return fmt.Errorf("user: only root can become %s; start as root, or as %s, or leave the key out", a.name, a.name)
	}
	return nil
}

// accountOf makes one of the numbers of its user, its group, and its other groups, among which that of root is left out: what
// is open to it is more than a pooler needs.
func accountOf(name string, numbers []string) (*account, error) {
	ids := make([]int, 0, len(numbers))
	for _, text := range numbers {
		id, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("user: %s: %w", name, err)
		}
		ids = append(ids, id)
	}
	a := &account{name: name, uid: ids[0], gid: ids[1], groups: ids[2:]}
	a.lost = slices.Contains(a.groups, 0)
	a.groups = slices.DeleteFunc(a.groups, func(id int) bool { return id == 0 })
	return a, nil
}

// become has every thread be that account for good, and makes sure of it. sockets, the files of Unix sockets, are given to it,
// so that it can remove them.
func (a *account) become(sockets []string) error {
	for _, path := range sockets {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("user: %w", err)
		}
	}
	if err := syscall.Setgroups(a.groups); err != nil {
		return fmt.Errorf("user: set the groups of %s: %w", a.name, err)
	}
	if err := syscall.Setgid(a.gid); err != nil {
		return fmt.Errorf("user: set the group of %s: %w", a.name, err)
	}
	if err := syscall.Setuid(a.uid); err != nil {
		return fmt.Errorf("user: become %s: %w", a.name, err)
	}
	// That of a process which is somebody else than before is the system's to choose.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	return a.verify()
}

// verify looks at each thread: one that kept a privilege would be as good as all of them.
func (a *account) verify() error {
	if err := syscall.Setuid(0); err == nil {
		return fmt.Errorf("user: %s can become root again", a.name)
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		return errors.New("user: cannot be verified without /proc")
	}
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return fmt.Errorf("user: verify: %w", err)
		}
		if reason := a.unlike(string(status)); reason != "" {
			return fmt.Errorf("user: a thread has not become %s: %s", a.name, reason)
		}
	}
	return nil
}

// unlike finds what a thread has that the account has not, in its /proc/…/status (proc(5)).
func (a *account) unlike(status string) string {
	wanted := map[string]string{
		"Uid": strings.Repeat(" "+strconv.Itoa(a.uid), 4)[1:], // real, effective, saved, of the file system
		"Gid": strings.Repeat(" "+strconv.Itoa(a.gid), 4)[1:],
	}
	const none = "0000000000000000"
	wanted["CapPrm"], wanted["CapEff"], wanted["CapAmb"] = none, none, none
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		got := strings.Fields(value)
		if want, ok := wanted[key]; ok {
			if strings.Join(got, " ") != want {
				return strings.TrimSpace(line)
			}
			delete(wanted, key)
		}
		if key == "Groups" && slices.ContainsFunc(got, func(id string) bool { return !a.in(id) }) {
			return strings.TrimSpace(line)
		}
	}
	if len(wanted) > 0 {
		return "it does not say who it is"
	}
	return ""
}

func (a *account) in(group string) bool {
	id, err := strconv.Atoi(group)
	return err == nil && (id == a.gid || slices.Contains(a.groups, id))
}

// dropPrivileges becomes the account of the configuration, if it names one, and warns of what a reload will not be able to read.
func (in *instance) dropPrivileges(cfg *config.Config, path string) error {
	a, err := lookUp(cfg.User)
	if err != nil || a == nil {
		return err
	}
	var sockets []string
	for _, addr := range in.addresses() {
		if addr.Network() == "unix" {
			sockets = append(sockets, addr.String())
		}
	}
	if err := a.become(sockets); err != nil {
		return err
	}
	in.log.Info("privileges dropped", "user", a.name)
	if a.lost {
		in.log.Warn("the account is in the group of root, which is not kept", "user", a.name)
	}
	for _, file := range append(cfg.Files(), path) {
		if err := unix.Access(file, unix.R_OK); file != "" && err != nil {
			in.log.Warn("a reload will fail: the file cannot be read any more", "file", file, "user", a.name, "error", err)
		}
	}
	return nil
}

// warnRoot says what to do about a pooler that keeps the rights of root.
func warnRoot(cfg *config.Config, log *slog.Logger) {
	if os.Geteuid() == 0 && cfg.User == "" {
		log.Warn("running as root, which is more than a pooler needs", "hint", `set user = "…" to an account of its own, or start it as that one`)
	}
}
