"""Which files of the library a page, or the staging of the book, depends on."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext

from sgdscope import paths
from sgdscope.pages.page import Page
from sgdscope.runs.source import PACKAGE, closure, files_of, imported_files

EXECUTING = (PACKAGE / "pages" / "execute.py",)
STAGING = (PACKAGE / "pages" / "stage.py",)


def sources(page: str | None = None) -> list[Path]:
    """Library files that could change a page when edited; without a page, those that could change the book around the pages:
    what stages it, and what its page on the library shows docstrings of."""
    if page is None:
        named = re.findall(r"sgdscope(?:\.\w+)+", (paths.repository() / "book" / "api.md").read_text(encoding="utf-8"))
        return closure([*STAGING, *(file for name in named for file in files_of(name))])
    file = Page(page).file
    code = "\n".join(cell.source for cell in jupytext.read(file).cells if cell.cell_type == "code")
    return closure([*imported_files(file, code), *EXECUTING])
