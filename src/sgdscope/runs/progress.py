"""Progress of long work: a bar in the terminal or in Jupyter, never on an executed page."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

TERMINAL = "SGDSCOPE_TERMINAL"  # set while a page is executed: path of the executing process's standard error, or empty


def bar(total: int, description: str) -> Any:
    """A tqdm bar: in the terminal that executes the page, if there is one, else in Jupyter or in this process's terminal."""
    if TERMINAL in os.environ:
        from tqdm import tqdm

        terminal = _terminal()
        return tqdm(total=total, desc=description, file=terminal, disable=terminal is None, mininterval=2, leave=False)
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, leave=False)


def say(message: str) -> None:
    """One line to the terminal, not onto the page."""
    file = _terminal() if TERMINAL in os.environ else sys.stderr
    if file is not None:
        print(f"sgdscope: {message}", file=file, flush=True)


def terminal_path() -> str:
    """Path by which a child process can write to this process's standard error; empty where the system has none."""
    path = f"/proc/{os.getpid()}/fd/2"
    if os.access(path, os.W_OK):
        return path
    return os.ttyname(2) if os.isatty(2) else ""


def _terminal() -> TextIO | None:
    """The terminal that executes the page. A kernel cannot use its own standard error: what it writes there lands on the page."""
    try:
        return open(os.environ[TERMINAL], "a", encoding="utf-8")  # noqa: SIM115  (closed with the process)
    except OSError:  # none, or one that cannot be opened again, such as a socket
        return None
