"""Which files of the library a page, or the staging of the book, depends on."""

from __future__ import annotations

from pathlib import Path

import jupytext

from sgdscope.pages.page import Page
from sgdscope.runs.source import PACKAGE, closure, imported_files

EXECUTING = (PACKAGE / "pages" / "execute.py",)
STAGING = (PACKAGE / "pages" / "stage.py",)


def sources(page: str | None = None) -> list[Path]:
    """Library files that could change a page when edited; without a page, those that could change the book around the pages."""
    if page is None:
        return closure(STAGING)
    file = Page(page).file
    code = "\n".join(cell.source for cell in jupytext.read(file).cells if cell.cell_type == "code")
    return closure([*imported_files(file, code), *EXECUTING])
