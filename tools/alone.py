"""Run a command while no other one holds the same lock.

    python tools/alone.py LOCK COMMAND [ARGUMENT ...]

The command takes this process's place and keeps the lock until it ends, however it ends: the kernel holds it, the file that is left over
means nothing. So what a killed make left running is waited for, and nothing has to be cleaned up.
"""

from __future__ import annotations

import fcntl
import os
import sys


def main(lock: str, *command: str) -> None:
    """Wait for the lock, then become the command."""
    os.makedirs(os.path.dirname(lock) or ".", exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for an earlier call, still at work ({lock})", file=sys.stderr, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass
    os.set_inheritable(descriptor, True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
