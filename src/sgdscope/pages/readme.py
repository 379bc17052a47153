"""The scorecard's summary in the README, kept equal to ``results/verdicts.json``."""

from __future__ import annotations

import re
from pathlib import Path

from sgdscope import paths
from sgdscope.claims import scorecard
from sgdscope.errors import InvalidInput

BLOCK = re.compile(r"(<!-- scorecard: written by sgdscope results verdicts -->\n).*?(<!-- /scorecard -->)", re.DOTALL)


def updated(text: str) -> str:
    """The README's text with the present summary.

    Raises:
        InvalidInput: the markers are gone.
    """
    if not BLOCK.search(text):
        raise InvalidInput("README.md has no scorecard block (<!-- scorecard: ... --> to <!-- /scorecard -->).")
    summary = scorecard.summary_markdown(scorecard.committed_verdicts())
    return BLOCK.sub(lambda match: f"{match[1]}{summary}{match[2]}", text)


def update() -> Path:
    """Write the summary into README.md."""
    file = paths.repository() / "README.md"
    file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
    return file
