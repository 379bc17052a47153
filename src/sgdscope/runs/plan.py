"""What a set of runs will cost: which are present, and time and memory of the rest from the times of runs like them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from sgdscope.runs import files, store
from sgdscope.runs.configuration import canonical
from sgdscope.runs.files import Damaged
from sgdscope.runs.run import run_of


@dataclass(frozen=True)
class Planned:
    """One row of a plan: the configurations of one run function."""

    function: str
    expected: int
    present: int
    seconds: float | None  # wall time of the missing ones; None where no run like them is known
    peak_mib: float | None  # the largest of them
    basis: str  # what the estimate rests on


def plan(configs: Sequence[Any]) -> list[Planned]:
    """Rows for each run function: how many of its configurations are present, and what the missing ones will cost.

    A missing run is expected to take what stored runs that differ from it in the seed alone took; where there are none, the mean
    over all stored runs of its function, called rough. The times of interrupted runs are incomplete and count only where there are no others.
    """
    by_function: dict[str, list[Any]] = defaultdict(list)
    for config in configs:
        by_function[run_of(config).name].append(config)
    rows = []
    for name, members in by_function.items():
        run = run_of(members[0])
        missing = [config for config in members if store.about(run, config) is None]
        known = _known(name)
        seconds, peaks, rough = 0.0, [], False
        for config in missing:
            twin = _without_seed(canonical(config))
            like = [about for about in known if _without_seed(about["config"]) == twin]
            rough |= not like
            if used := like or known:
                seconds += mean(about["provenance"]["seconds"] for about in used)
                peaks += [about["provenance"]["peak_mib"] for about in used]
        basis = (
            "nothing to do"
            if not missing
            else "no run like them yet"
            if not known
            else "rough: other settings"
            if rough
            else "runs at other seeds"
        )
        unknown = bool(missing) and not known
        rows.append(Planned(name, len(members), len(members) - len(missing), None if unknown else seconds, max(peaks, default=None), basis))
    return rows


def _known(function: str) -> list[dict[str, Any]]:
    """What is said about stored and committed runs of a function, whatever their source; of interrupted ones only where there are no others."""
    found = []
    for file in store.all_files(function):
        try:
            found.append(files.read_about(file))
        except Damaged:  # set aside when it is asked for; no basis for an estimate
            continue
    return [about for about in found if not about["provenance"].get("resumed")] or found


def _without_seed(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration's fields but the seed."""
    return {name: value for name, value in config.items() if name != "seed"}
