"""What is known about committed runs of an older source: how many of them were computed again with another one, and gave the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from sgdscope import paths
from sgdscope.errors import NotFound


@dataclass(frozen=True)
class Recheck:
    """A sample of a function's committed runs, computed again; of one old source and one new one."""

    function: str
    old: str  # fingerprint of the source that the committed runs are of
    new: str  # fingerprint of the source that the sample was computed with
    runs: int  # committed runs of the old source that were looked at
    sample: int  # of them, computed again
    agree: int  # of these, that gave the same table and arrays
    difference: float  # largest relative difference of a number; infinite where shapes, texts or outcomes differ
    commit: str
    created: str  # UTC, ISO 8601

    def __str__(self) -> str:
        found = "all agree" if self.agree == self.sample else f"{self.agree} agree"
        size = f", largest relative difference {self.difference:.0e}" if self.difference else ""
        return f"of this function and source {self.sample} were computed again: {found}{size}"


def place() -> Path:
    """The committed file that holds all of them."""
    return paths.repository() / "results" / "rechecks.json"


def recorded() -> tuple[Recheck, ...]:
    """All rechecks on record; none outside a checkout."""
    try:
        file = place()
    except NotFound:
        return ()
    return _read(file, file.stat().st_mtime_ns) if file.is_file() else ()


@lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> tuple[Recheck, ...]:
    return tuple(Recheck(**entry) for entry in json.loads(file.read_text(encoding="utf-8")))


def find(function: str, old: str, new: str) -> Recheck | None:
    """The recheck of a function's runs of one source against another, if there is one."""
    return next((found for found in recorded() if (found.function, found.old, found.new) == (function, old, new)), None)


def record(rechecks: Iterable[Recheck]) -> Path:
    """Write rechecks to the committed file; of a function and an old source the last one stands."""
    kept = {(found.function, found.old): found for found in (*recorded(), *rechecks)}
    text = json.dumps([asdict(kept[key]) for key in sorted(kept)], indent=1)
    place().write_text(text + "\n", encoding="utf-8")
    return place()
