"""Start a program that dies with its parent.

``python tether.py PARENT NICENESS PROGRAM ARG…``.

A supervisor that is killed -9 cannot stop anybody, so each child asks the kernel to be
killed with it (Linux only; elsewhere it is plain exec). Run as a script with ``-IS``,
so that it costs 15 ms and no memory: it replaces itself with the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor died before this process began")
    os.nice(int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606  the caller gives a whole path


if __name__ == "__main__":
    main()
