"""What a parser child gives up before it reads its first document. Linux only.

In this order: memory, files, processes and core dumps by resource limits; every file
but Python's own and the child's input directory by Landlock; sockets, new programs,
signals and tracing by a seccomp filter. Each holds for good, native code included.
Where the kernel has no seccomp, the child moves into a network namespace of its own,
where it may, and Python itself is told to refuse sockets and programs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

# System calls of Landlock; the numbers are the same on every architecture.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_LANDLOCK_PATH_BENEATH = 1
_FS_EXECUTE = 1 << 0
_FS_READ_FILE = 1 << 2
_FS_READ_DIR = 1 << 3
# Rights known to each version of Landlock, all of them denied unless granted.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}


# What is denied: new sockets and all use of others, new programs, signals to other
# processes, tracing and limits of other processes, and ways around this filter.
@dataclass(frozen=True, slots=True)
class _Machine:
    arch: int
    clone: int
    denied: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(
        arch=0xC000003E,
        clone=56,
        denied=(
            *range(41, 51),  # socket .. listen
            *(51, 52, 53, 54, 55),  # getsockname .. getsockopt
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(62, 200, 234, 129, 297),  # kill, tkill, tgkill, rt_sigqueueinfo
            *(101, 310, 311),  # ptrace, process_vm_readv, process_vm_writev
            *(160, 302),  # setrlimit, prlimit64
            *(288, 299, 307),  # accept4, recvmmsg, sendmmsg
            *(424, 434, 438),  # pidfd_send_signal, pidfd_open, pidfd_getfd
            *(425, 426, 427),  # io_uring
            *(165, 272, 308, 321, 323, 298, 250),  # mount .. keyctl
        ),
    ),
    "aarch64": _Machine(
        arch=0xC00000B7,
        clone=220,
        denied=(
            *range(198, 213),  # socket .. recvmsg
            *(242, 243, 269),  # accept4, recvmmsg, sendmmsg
            *(221, 281),  # execve, execveat
            *(129, 130, 131, 138, 240),  # kill, tkill, tgkill, rt_sigqueueinfo
            *(117, 270, 271),  # ptrace, process_vm_readv, process_vm_writev
            *(164, 261),  # setrlimit, prlimit64
            *(424, 434, 438),  # pidfd_send_signal, pidfd_open, pidfd_getfd
            *(425, 426, 427),  # io_uring
            *(40, 97, 268, 280, 282, 241, 219),  # mount .. keyctl
        ),
    ),
}
_CLONE3 = 435
_CLONE_THREAD = 0x10000


def confine(directory: str, *, memory_bytes: int) -> list[str]:
    """Give up everything but reading ``directory`` and Python's own files.

    Returns:
        What holds from now on: ``limits``, ``landlock``, ``seccomp``, ``namespace``,
        ``hooks``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    # Nobody of the same user may trace it or read its memory, nor its kind each other.
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held = ["limits"]
    _limit(memory_bytes)
    if _landlock(libc, [directory, *_python_paths()]):
        held.append("landlock")
    if _seccomp(libc):
        held.append("seccomp")
        return held
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        held.append("namespace")
    sys.addaudithook(_refuse)
    held.append("hooks")
    return held


def _limit(memory_bytes: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _python_paths() -> list[str]:
    """Where modules and libraries may still be loaded from."""
    system = ["/usr/lib", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache"]
    paths = [sys.prefix, sys.base_prefix, *sys.path, *system]
    return sorted({os.path.realpath(path) for path in paths if Path(path).exists()})


def _landlock(libc: ctypes.CDLL, readable: list[str]) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    rights = _FS_RIGHTS[max(known for known in _FS_RIGHTS if known <= version)]
    handled = struct.pack("Q", rights)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            granted = _FS_READ_FILE | _FS_EXECUTE
            if Path(path).is_dir():
                granted |= _FS_READ_DIR
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", granted, parent)
                if libc.syscall(
                    _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0
                ):
                    return False
            finally:
                os.close(parent)
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _filter(machine)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    length = len(program) // 8
    return bool(
        libc.prctl(
            _PR_SET_SECCOMP,
            _SECCOMP_MODE_FILTER,
            ctypes.byref(Program(length, program)),
            0,
            0,
        )
        == 0
    )


def _filter(machine: _Machine) -> bytes:
    """A BPF program: kill on another architecture, EPERM on what is denied."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, error, allow = 0x80000000, 0x00050000, 0x7FFF0000
    x32 = 0x40000000

    def step(code: int, true: int, false: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, true, false, value)

    program = [
        step(load, 0, 0, 4),  # the architecture
        step(equal, 1, 0, machine.arch),
        step(give, 0, 0, kill),
        step(load, 0, 0, 0),  # the call's number
        # Its arguments lie in memory that no filter sees; libc then uses clone.
        step(equal, 0, 1, _CLONE3),
        step(give, 0, 0, error | errno.ENOSYS),
        # Threads may be started, processes not.
        step(equal, 0, 4, machine.clone),
        step(load, 0, 0, 16),  # its flags
        step(any_bit, 1, 0, _CLONE_THREAD),
        step(give, 0, 0, error | errno.EPERM),
        step(give, 0, 0, allow),
        # x86-64's second set of numbers would be a way around.
        step(at_least, len(machine.denied) + 1, 0, x32),
    ]
    # A denied number jumps over the rest of the list and over "allow".
    program += [
        step(equal, len(machine.denied) - index, 0, call)
        for index, call in enumerate(machine.denied)
    ]
    program += [step(give, 0, 0, allow), step(give, 0, 0, error | errno.EPERM)]
    return b"".join(program)


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn")) or (
        event in {"os.system", "os.fork", "os.kill"}
    ):
        raise PermissionError(event)
