"""Progress of long work: a bar in the terminal or in Jupyter, never in an executed notebook."""

from __future__ import annotations

import os
import sys
from typing import Any


def bar(total: int, description: str) -> Any:
    """A tqdm bar. In a notebook that is being executed it goes to the terminal that executes it, not onto the page."""
    if "SGDSCOPE_SCALE" in os.environ:  # set while a page is executed: the kernel's own stderr is that terminal
        from tqdm import tqdm

        return tqdm(total=total, desc=description, file=sys.__stderr__, mininterval=2, leave=False)
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, leave=False)


def say(message: str) -> None:
    """One line to the terminal, not onto the page."""
    print(f"sgdscope: {message}", file=sys.__stderr__, flush=True)
