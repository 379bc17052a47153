"""What a set of runs will cost: which are present, and time and memory of the rest from those of runs like them."""

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

_ABSENT = object()


@dataclass(frozen=True)
class Planned:
    """One row of a plan: the configurations of one run function."""

    function: str
    expected: int
    present: int
    seconds: float | None  # wall time of the missing ones; None where for one of them no run like it is known
    peak_mib: float | None  # the largest of them
    basis: str  # what the estimate rests on


def plan(configs: Sequence[Any]) -> list[Planned]:
    """Rows for each run function: how many of its configurations are present, and what the missing ones will cost.

    A missing run is expected to take what stored runs that differ from it in seeds alone took. Where there are none: the mean over those
    that share the most fields with it, among the stored runs of its size (each whole number at most twice the other), called rough. Times are
    not scaled, so without runs of its size what it and its row will cost is unknown. Among any of these, runs that were interrupted, whose times
    are incomplete, and those of a GPU, where none is here, count only where there are no others.
    """
    by_function: dict[str, list[Any]] = defaultdict(list)
    for config in configs:
        by_function[run_of(config).name].append(config)
    rows = []
    for name, members in by_function.items():
        run = run_of(members[0])
        missing = [canonical(config) for config in members if store.about(run, config) is None]
        known = _known(name)
        rows.append(_row(name, len(members), missing, [_nearest(config, known) for config in missing]))
    return rows


def _row(name: str, expected: int, missing: list[dict[str, Any]], like: list[list[dict[str, Any]]]) -> Planned:
    """The row of a function: its missing configurations, and for each the known runs like it."""
    present, unlike = expected - len(missing), sum(not runs for runs in like)
    if unlike:
        which = "them" if unlike == len(missing) else f"{unlike} of them"
        return Planned(name, expected, present, None, None, f"no run like {which} yet")
    used = [[about["provenance"] for about in _telling(runs)] for runs in like]
    every = [provenance for provenances in used for provenance in provenances]
    rough = any(_apart(config, runs[0]["config"]) for config, runs in zip(missing, like, strict=True))
    basis = "nothing to do" if not missing else "rough: other settings" if rough else "runs at other seeds"
    basis += ", on a GPU" * any(map(_elsewhere, every))
    seconds = sum(mean(provenance["seconds"] for provenance in provenances) for provenances in used)
    return Planned(name, expected, present, seconds, max((provenance["peak_mib"] for provenance in every), default=None), basis)


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


def _nearest(config: dict[str, Any], known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The known runs of a configuration's size that differ from it in the fewest fields."""
    apart = [(_apart(config, about["config"]), about) for about in known if _same_size(config, about["config"])]
    fewest = min((number for number, _ in apart), default=0)
    return [about for number, about in apart if number == fewest]


def _apart(config: dict[str, Any], stored: dict[str, Any]) -> int:
    """In how many fields beside seeds two configurations differ; a field that only one has (added since) counts."""
    return sum(config.get(name, _ABSENT) != stored.get(name, _ABSENT) for name in config.keys() | stored.keys() if not _is_seed(name))


def _same_size(config: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether no whole number of one, or sum of a list of them, is more than twice the other's; None (all there is) is like itself only."""
    for name in config.keys() & stored.keys():
        one, other = _size(config[name]), _size(stored[name])
        if _is_seed(name) or one == other:
            continue
        if one is None or other is None or max(one, other) > 2 * min(one, other):
            return False
    return True


def _size(value: Any) -> int | None:
    """A whole number, or the sum of a list of them; None for anything else."""
    values = value if isinstance(value, list) else [value]
    return sum(values) if values and all(type(item) is int for item in values) else None


def _is_seed(name: str) -> bool:
    """Whether a field is a seed, which costs nothing."""
    return name == "seed" or name.endswith("_seed")
