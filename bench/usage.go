package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// clockTick is USER_HZ, the unit of /proc/PID/stat: 100 a second on every Linux we run on.
const clockTick = time.Second / 100

// cpuTime is the CPU a process has used so far, all its threads together, also those that ended.
// The process's own CPU clock counts nanoseconds; /proc/PID/stat, the same sum in ticks of 10 ms,
// would blur a one-second run by several percent and serves only where the clock is forbidden.
func cpuTime(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the complement of the pid, shifted, with CPUCLOCK_SCHED in the low bits.
	clock := uintptr(^pid<<3 | 2)
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno == 0 {
		return time.Duration(ts.Nano()), nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStatCPU(stat)
}

// parseStatCPU adds utime and stime, fields 14 and 15 of /proc/PID/stat. The command's name, the
// second field, may hold blanks and parentheses: what counts starts behind the last one.
func parseStatCPU(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("unexpected /proc stat line %q", stat)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("unexpected /proc stat line: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// memory is a process's proportional share of resident memory in bytes. Kernel memory, socket
// buffers above all, is not in it.
func memory(pid int) (int64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parseRollup(rollup)
}

func parseRollup(rollup []byte) (int64, error) {
	for _, key := range []string{"Pss:", "Rss:"} {
		for line := range strings.Lines(string(rollup)) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[0] != key {
				continue
			}
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("unexpected smaps_rollup line %q: %w", line, err)
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("no Pss or Rss in smaps_rollup: %q", rollup)
}

// raiseFileLimit lifts our soft limit to the hard one; the processes we start inherit it.
func raiseFileLimit(idle int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(limit.Max, 20000)
	if uint64(idle)+500 > limit.Cur {
		return fmt.Errorf("-idle %d: the limit of open files allows only %d", idle, limit.Cur-500)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// cpuMeter reads how much CPU a target's proxy uses between start and stop.
type cpuMeter struct {
	pid    int
	before time.Duration
}

func (t *target) meter() (cpuMeter, error) {
	if t.proc == nil {
		return cpuMeter{}, nil
	}
	before, err := cpuTime(t.proc.pid())
	return cpuMeter{pid: t.proc.pid(), before: before}, err
}

// used is false on a direct target, which has no proxy.
func (m cpuMeter) used() (cpu time.Duration, ok bool, err error) {
	if m.pid == 0 {
		return 0, false, nil
	}
	after, err := cpuTime(m.pid)
	return after - m.before, err == nil, err
}
