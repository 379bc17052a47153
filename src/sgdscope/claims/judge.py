"""Judging: a claim's rule applied to evidence, shown as a card and written into the executed notebook."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from sgdscope.claims.card import claim_card
from sgdscope.claims.evidence import Evidence, Measurement
from sgdscope.claims.ledger import Claim, Part, claim_of
from sgdscope.claims.record import committed_verdicts
from sgdscope.errors import InvalidInput

MIME = "application/vnd.sgdscope.verdict+json"
VERDICTS = ("reproduced", "partly", "not reproduced", "not run")
SEEDS_FOR_A_DIRECTION = 3


@dataclass(frozen=True)
class PartVerdict:
    """One part of a rule with what was measured for it."""

    name: str
    kind: str
    measures: str
    bound: str  # the rule's bound in words
    met: bool
    value: float | None = None
    interval: tuple[float, float] | None = None
    seeds: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """A judged claim; what the card shows and the scorecard counts."""

    id: str
    verdict: str
    reason: str  # why it was not run; empty otherwise
    parts: tuple[PartVerdict, ...]
    note: str
    data: str
    scale: str
    runs: str  # how many runs, computed when and from which source
    seeds: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no number that is not finite: those become None."""
        record = asdict(self)
        for part in record["parts"]:
            if part["value"] is not None and not math.isfinite(part["value"]):
                part["value"] = None
        return record

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The card for people, the record for the scorecard."""
        text = f"{self.id}: {self.verdict}" + (f" ({self.reason})" if self.reason else "")
        card = claim_card(claim_of(self.id), self.as_dict(), committed_verdicts().get(self.id))
        return {"text/plain": text, "text/html": card, MIME: self.as_dict()}


def scale() -> str:
    """Scale that the page is executed at: smoke, quick, paper, or custom (changed parameters, or run by hand)."""
    return os.environ.get("SGDSCOPE_SCALE", "custom")


def judge(claim_id: str, evidence: Evidence, *, note: str = "") -> Verdict:
    """Apply a claim's rule to evidence.

    Args:
        claim_id: id in the ledger.
        evidence: a measurement for each part of the rule, from a tested function.
        note: the argument, for rules with a part of kind ``note``; shown on the card.

    Raises:
        NotFound: no such claim.
        InvalidInput: the claim has no rule yet, or the evidence measures other parts than the rule has.
    """
    claim = claim_of(claim_id)
    if not claim.rule:
        raise InvalidInput(f"{claim_id} has no rule in book/claims.yaml: write one, and commit it before the runs that it judges.")
    reason = f"{scale()} scale" if scale() == "smoke" else evidence.not_run
    parts: tuple[PartVerdict, ...] = ()
    if not evidence.not_run:
        _check_parts(claim, evidence)
        parts = tuple(apply(part, evidence.parts.get(part.name), note) for part in claim.rule)
        if few := [p.name for p in parts if p.kind == "direction" and p.seeds < SEEDS_FOR_A_DIRECTION]:
            reason = reason or f"a direction needs {SEEDS_FOR_A_DIRECTION} seeds: {', '.join(few)}"
    met = [part.met for part in parts]
    verdict = "not run" if reason else "reproduced" if all(met) else "partly" if any(met) else "not reproduced"
    return Verdict(
        claim_id, verdict, reason, parts, note, evidence.data, scale(), _runs(evidence), max((part.seeds for part in parts), default=0)
    )


def apply(part: Part, measured: Measurement | None, note: str) -> PartVerdict:
    """Whether one part of a rule is met."""
    shown = {"name": part.name, "kind": part.kind, "measures": part.measures, "bound": part.bound}
    if part.kind == "note":
        return PartVerdict(**shown, met=bool(note.strip()))
    value, (low, high) = measured.value, measured.interval or (measured.value, measured.value)
    if part.kind == "identity":
        met = abs(value) <= part.tolerance
    elif part.kind == "direction":
        met = measured.interval is not None and (low > 0 if part.sign == "positive" else high < 0)
    elif part.factor is not None:
        met = value > 0 and max(value / part.paper, part.paper / value) <= part.factor
    else:
        met = low <= part.paper <= high
    return PartVerdict(**shown, met=met, value=value, interval=measured.interval, seeds=measured.seeds, detail=measured.detail)


def _check_parts(claim: Claim, evidence: Evidence) -> None:
    """Refuse evidence that does not answer to the rule."""
    needed = {part.name for part in claim.rule if part.kind != "note"}
    if needed != set(evidence.parts):
        raise InvalidInput(f"{claim.id}: its rule measures {sorted(needed)}, the evidence has {sorted(evidence.parts)}.")


def _runs(evidence: Evidence) -> str:
    """In words: how many runs, and whether they are of this source."""
    if not evidence.sources:
        return "computed on the page"
    origins: dict[str, int] = {}
    for source in evidence.sources:
        for origin, count in source.origins.items():
            name = "of this source" if origin in ("computed", "store") else origin.replace("results", "committed", 1)
            origins[name] = origins.get(name, 0) + count
    text = ", ".join(f"{count} {'run' if count == 1 else 'runs'} {name}" for name, count in origins.items())
    diverged = sum(source.diverged for source in evidence.sources)
    return text + (f", {diverged} diverged" if diverged else "")
