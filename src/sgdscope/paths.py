"""Where things are on disk: the repository, the store of runs. Everything else is found from these two."""

from __future__ import annotations

import os
from pathlib import Path

from sgdscope.errors import NotFound


def repository() -> Path:
    """Root of the sgdscope checkout: the first folder with ``_config.yml`` and ``book/claims.yaml``, upwards from the working
    directory, else from this file.

    Raises:
        NotFound: neither lies in a checkout (the book, its notebooks and its ledger are not part of the installed package).
    """
    starts = [Path.cwd().resolve(), Path(__file__).resolve()]
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / "_config.yml").is_file() and (folder / "book" / "claims.yaml").is_file():
                return folder
    raise NotFound(
        f"no sgdscope checkout at or above {starts[0]}: pages, ledger and results live in the repository, not in the package. "
        "Clone it and call from inside."
    )


def store() -> Path:
    """Folder of the local store of runs: ``$SGDSCOPE_STORE``, else ``.runs`` in the checkout, else in the working directory."""
    if chosen := os.environ.get("SGDSCOPE_STORE"):
        return Path(chosen).expanduser().resolve()
    try:
        return repository() / ".runs"
    except NotFound:
        return Path.cwd() / ".runs"
