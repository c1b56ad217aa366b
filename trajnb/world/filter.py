"""The system calls that the child of `world.sandbox` may still make, told to the Linux kernel.

A seccomp filter needs no root, holds for the rest of a process's life, and names what is allowed: to
read and write what is open, memory of its own, the clock, its own processor limit, the end. Limits
(`world.child`) bound numbers; this closes acts that open nothing: to unlink, rename, truncate, to signal
other processes, to share memory. It is written here, as twenty words of the kernel's own language,
because no library for it can be had by pip alone; Landlock, the other way without root, leaves out
signals to older kernels, modes and times of files, and shared memory.
"""

import ctypes
import errno
import platform
import struct
import sys

_ALLOWED = {  # by machine: numbers of the kernel's tables
    "x86_64": {
        "arch": 0xC000003E, "mmap": 9, "prlimit64": 302,
        "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mprotect": 10, "munmap": 11, "brk": 12,
        "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "exit": 60, "gettimeofday": 96,
        "getrusage": 98, "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231,
        "getrandom": 318,
    },
    "aarch64": {
        "arch": 0xC00000B7, "mmap": 222, "prlimit64": 261,
        "close": 57, "lseek": 62, "read": 63, "write": 64, "fstat": 80, "exit": 93, "exit_group": 94,
        "futex": 98, "clock_gettime": 113, "sched_yield": 124, "restart_syscall": 128, "rt_sigreturn": 139,
        "getrusage": 165, "gettimeofday": 169, "brk": 214, "munmap": 215, "mremap": 216, "mprotect": 226,
        "madvise": 233, "getrandom": 278,
    },
}  # fmt: skip
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # words of the filter's language
_NUMBER, _ARCH, _FIRST, _FOURTH = 0, 4, 16, 40  # where a call's number and arguments stand
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2  # of prctl
_SHARED = 1  # a flag of mmap


def close_system() -> bool:
    """From here on this process may make no system call but the allowed ones: others fail with
    EPERM. Whether it was done: on Linux on the two machines that are known, with a kernel that filters.
    """
    known = _ALLOWED.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    program = _program(dict(known))
    code = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong]
    return not call(_NO_NEW_PRIVILEGES, 1, None, 0, 0) and not call(_SET_SECCOMP, _FILTER, filter_, 0, 0)


def _program(known: dict[str, int]) -> bytes:
    """The filter. A jump says how many words are passed over where it holds, and where not."""
    arch, mmap, limits = (known.pop(name) for name in ("arch", "mmap", "prlimit64"))
    plain = [(_EQUAL, len(known) - place, 0, number) for place, number in enumerate(known.values())]
    # behind the plain ones stand: refuse, allow
    words = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),  # another table of numbers
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 2, mmap),
        (_LOAD, 0, 0, _FOURTH),
        (_ANY_BIT, len(known) + 3, len(known) + 4, _SHARED),
        (_EQUAL, 0, 2, limits),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, len(known) + 1, len(known), 0),  # its own limits alone
        *plain,
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *word) for word in words)
