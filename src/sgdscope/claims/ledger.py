"""The ledger: what the papers claim, and the rule by which each claim is judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sgdscope import paths
from sgdscope.errors import InvalidInput, unknown_name

KINDS = ("figure", "table", "theorem", "statement", "erratum")
RULE_KINDS = {"identity": {"tolerance"}, "direction": {"sign"}, "value": {"paper", "factor"}, "note": set()}


@dataclass(frozen=True)
class Part:
    """One part of a rule."""

    name: str
    kind: str  # identity | direction | value | note
    measures: str  # what the evidence must measure
    tolerance: float | None = None  # identity: largest |value| that is met
    sign: str | None = None  # direction: "positive" or "negative"
    paper: float | None = None  # value: the number that the paper prints
    factor: float | None = None  # value: ours is met within this factor of it; without one it must lie in our interval

    @property
    def bound(self) -> str:
        """What is demanded, in words."""
        if self.kind == "identity":
            return f"at most {self.tolerance:g}"
        if self.kind == "direction":
            return f"{self.sign}, 95% interval"
        if self.kind == "note":
            return "argument shown"
        return f"{self.paper:g} in our 95% interval" if self.factor is None else f"{self.paper:g} within a factor of {self.factor:g}"


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger."""

    id: str
    paper: str
    where: str
    kind: str
    says: str
    show: str
    values: dict[str, Any]
    rule: tuple[Part, ...]  # empty: no page judges it yet
    changed: tuple[dict[str, str], ...] = ()  # later changes to the rule


@lru_cache
def load_ledger(file: Path | None = None) -> dict[str, Claim]:
    """All claims by id, in the order of the file (``book/claims.yaml``).

    Raises:
        InvalidInput: an entry lacks a field, repeats an id, or has a rule that cannot be applied.
    """
    file = file or paths.repository() / "book" / "claims.yaml"
    claims: dict[str, Claim] = {}
    for paper, entries in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        for entry in entries:
            claim = _claim(paper, entry)
            if claim.id in claims:
                raise InvalidInput(f"{file.name}: the id {claim.id!r} stands there twice.")
            claims[claim.id] = claim
    return claims


def claim_of(claim_id: str) -> Claim:
    """One claim.

    Raises:
        NotFound: no such id; the nearest is named.
    """
    ledger = load_ledger()
    if claim_id not in ledger:
        raise unknown_name("claim", claim_id, ledger)
    return ledger[claim_id]


def _claim(paper: str, entry: dict[str, Any]) -> Claim:
    """One entry, checked."""
    try:
        claim = Claim(
            id=entry["id"],
            paper=paper,
            where=entry["where"],
            kind=entry["kind"],
            says=entry["says"],
            show=entry["show"],
            values=entry.get("values", {}),
            rule=tuple(_part(entry["id"], part) for part in entry.get("rule", [])),
            changed=tuple(entry.get("changed", [])),
        )
    except KeyError as missing:
        raise InvalidInput(f"ledger entry {entry.get('id', entry)!r} lacks {missing}.") from None
    if any(set(change) != {"date", "what", "why"} for change in claim.changed):
        raise InvalidInput(f"{claim.id}: a change to its rule says date, what and why; got {list(claim.changed)}.")
    if claim.kind not in KINDS:
        raise InvalidInput(f"{claim.id}: kind {claim.kind!r} is none of {', '.join(KINDS)}.")
    if len({part.name for part in claim.rule}) < len(claim.rule):
        raise InvalidInput(f"{claim.id}: two parts of its rule have one name.")
    return claim


def _part(claim_id: str, entry: dict[str, Any]) -> Part:
    """One part of a rule, checked."""
    kind = entry.get("kind")
    if kind not in RULE_KINDS:
        raise InvalidInput(f"{claim_id}: rule kind {kind!r} is none of {', '.join(RULE_KINDS)}.")
    where = f"{claim_id}, part {entry['part']!r}"
    bounds = set(entry) - {"part", "kind", "measures"}
    needed = RULE_KINDS[kind] - {"factor"}
    if not (needed <= bounds <= RULE_KINDS[kind]):
        raise InvalidInput(f"{where}: {kind} takes {sorted(RULE_KINDS[kind])}, got {sorted(bounds)}.")
    if kind == "direction" and entry["sign"] not in ("positive", "negative"):
        raise InvalidInput(f"{where}: sign is positive or negative, got {entry['sign']!r}.")
    for name in bounds - {"sign"}:
        if isinstance(entry[name], bool) or not isinstance(entry[name], int | float):
            raise InvalidInput(f"{where}: {name} must be a number, got {entry[name]!r} (YAML takes 1e-9 for text, 1.0e-9 for a number).")
    if "factor" in bounds and not (entry["factor"] >= 1 and entry["paper"] > 0):
        raise InvalidInput(f"{where}: a factor is at least 1 and needs a positive number of the paper, got {entry}.")
    return Part(name=entry["part"], kind=kind, measures=entry["measures"], **{name: entry[name] for name in bounds})
