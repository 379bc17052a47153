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
from sgdscope.runs.provenance import gpu_here
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
    over all stored runs of its function, called rough. Among either, runs that were interrupted, whose times are incomplete, and those of a GPU,
    where none is here, count only where there are no others.
    """
    by_function: dict[str, list[Any]] = defaultdict(list)
    for config in configs:
        by_function[run_of(config).name].append(config)
    rows = []
    for name, members in by_function.items():
        run = run_of(members[0])
        missing = [config for config in members if store.about(run, config) is None]
        known = _known(name)
        seconds, peaks, rough, elsewhere = 0.0, [], False, False
        for config in missing:
            twin = _without_seed(canonical(config))
            like = [about for about in known if _without_seed(about["config"]) == twin]
            rough |= not like
            used = [about["provenance"] for about in _telling(like or known)]
            elsewhere |= any(map(_elsewhere, used))
            if used:
                seconds += mean(provenance["seconds"] for provenance in used)
                peaks += [provenance["peak_mib"] for provenance in used]
        basis = (
            "nothing to do"
            if not missing
            else "no run like them yet"
            if not known
            else "rough: other settings"
            if rough
            else "runs at other seeds"
        )
        basis += ", on a GPU" * elsewhere
        unknown = bool(missing) and not known
        rows.append(Planned(name, len(members), len(members) - len(missing), None if unknown else seconds, max(peaks, default=None), basis))
    return rows


def _known(function: str) -> list[dict[str, Any]]:
    """What is said about stored and committed runs of a function, whatever their source."""
    found = []
    for file in store.all_files(function):
        try:
            found.append(files.read_about(file))
        except Damaged:  # set aside when it is asked for; no basis for an estimate
            continue
    return found


def _telling(known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose times are complete and of this kind of machine; all, where there are none."""
    return [k for k in known if not k["provenance"].get("resumed") and not _elsewhere(k["provenance"])] or known


def _elsewhere(provenance: dict[str, Any]) -> bool:
    """Whether a run took a GPU and none is here."""
    return provenance["device"] != "cpu" and not gpu_here()


def _without_seed(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration's fields but the seed."""
    return {name: value for name, value in config.items() if name != "seed"}
