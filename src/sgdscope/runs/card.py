"""The provenance card of a page: which scale, parameters, runs, source, machine and versions produced it."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from dataclasses import dataclass
from html import escape

from sgdscope.runs.collect import collected
from sgdscope.runs.provenance import present_commit, versions

SHOWN = ("scale", "runs", "run time", "device", "again")  # what stands open; the rest is a click away


@dataclass(frozen=True)
class Card:
    """Shown by a notebook."""

    facts: dict[str, str]

    def _repr_html_(self) -> str:
        rows = {name: f"<dt>{escape(name)}</dt><dd>{_value(value)}</dd>" for name, value in self.facts.items()}
        shown = "".join(rows[name] for name in SHOWN if name in rows)
        folded = "".join(row for name, row in rows.items() if name not in SHOWN)
        return (
            f'<div class="sgd-provenance"><dl>{shown}</dl>'
            f"<details><summary>Parameters, sources, versions, other scales</summary><dl>{folded}</dl></details></div>"
        )

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts.items())


def _value(value: str) -> str:
    """A fact as HTML; commands as code."""
    return f"<code>{escape(value)}</code>" if value.startswith("sgdscope ") else escape(value)


def provenance_card() -> Card:
    """Where the numbers of this page come from, from all runs that it has collected so far."""
    origins: Counter[str] = Counter()
    for source in collected:
        for origin, count in source.origins.items():
            origins[origin.partition(" (")[0]] += count  # what rechecks found stands on the claims' cards
    scale = os.environ.get("SGDSCOPE_SCALE", "by hand")
    page = os.environ.get("SGDSCOPE_PAGE", "")
    parameters = json.loads(os.environ.get("SGDSCOPE_PARAMETERS", "{}"))
    missing = sum(source.missing for source in collected)
    runs = "; ".join(f"{count} from {origin}" if origin != "computed" else f"{count} computed now" for origin, count in origins.items())
    resumed = sum(source.resumed for source in collected)
    facts = {
        "page": page,
        "scale": scale,
        "parameters": ", ".join(f"{name} = {value!r}" for name, value in parameters.items()),
        "runs": (runs or "none") + (f"; {missing} missing" if missing else ""),
        "run time": f"{sum(source.seconds for source in collected):.1f} s in all when they were computed, one thread"
        + (f"; {resumed} of the runs went on after an interruption and count from there" if resumed else ""),
        "device": ", ".join(sorted({device for source in collected for device in source.devices})),
        "source of the runs": ", ".join(sorted({commit for source in collected for commit in source.commits})),
        "source of the page": present_commit(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "again": f"sgdscope execute {page} --scale {scale}" if page and scale != "custom" else "",
    }
    if page:
        changed = " ".join(f"-p {name} {shlex.quote(json.dumps(value))}" for name, value in list(parameters.items())[:1])
        facts["at paper scale"] = f"sgdscope execute {page} --scale paper" if scale != "paper" else ""
        facts["with other values"] = f"sgdscope execute {page} {changed}" if changed else ""
    return Card({name: value for name, value in facts.items() if value})
