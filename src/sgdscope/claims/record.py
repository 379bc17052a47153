"""The committed record of the verdicts at paper scale (``results/verdicts.json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sgdscope import paths

Record = dict[str, Any]  # a verdict as plain values, see ``Verdict.as_dict``


def committed_file() -> Path:
    """The file."""
    return paths.repository() / "results" / "verdicts.json"


def committed_verdicts() -> dict[str, Record]:
    """The verdicts at paper scale, by claim; empty where none is committed."""
    file = committed_file()
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
