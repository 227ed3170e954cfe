package loop

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three calls below go around Go's scheduler (RawSyscall): on a non-blocking descriptor they return at once, so
// handing the processor over before and taking it back after would cost more than the call. Measured in
// shared/DESIGN.md section 2: this is the difference between 6 and 10 µs a transaction.

func readNow(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), e
}

func writeNow(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

func pollNow(epoll int, events []unix.EpollEvent) int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}
