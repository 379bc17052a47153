"""How claims and verdicts look: badges and claim cards. All text is escaped."""

from __future__ import annotations

import re
from html import escape

from sgdscope.claims.ledger import Claim
from sgdscope.claims.record import Record
from sgdscope.claims.words import number, prose

LABELS = {True: "met", False: "not met", None: "not judged"}
MARKS = {True: "✓", False: "✕", None: "–"}


def badge(verdict: str) -> str:
    """A verdict as a badge."""
    return f'<span class="sgd-badge sgd-{verdict.replace(" ", "-")}">{escape(verdict)}</span>'


def claim_card(claim: Claim, verdict: Record, committed: Record | None = None) -> str:
    """A judged claim: what the paper says, our verdict, and each part of the rule with what was measured.

    Args:
        claim: the ledger's entry.
        verdict: the verdict of this build.
        committed: the verdict at paper scale, where there is one; not repeated if this build is that scale.
    """
    reason = f'<span class="sgd-reason">{prose(verdict["reason"])}</span>' if verdict["reason"] else ""
    note = f'<p class="sgd-claim-note">{prose(verdict["note"])}</p>' if verdict["note"] else ""
    changes = "".join(
        f'<p class="sgd-claim-changed">Rule changed on {escape(str(change["date"]))}: {escape(change["what"])} ({escape(change["why"])})</p>'
        for change in claim.changed
    )
    paper = f'<p class="sgd-claim-paper"><b>Printed:</b> {printed(claim)}</p>' if claim.values else ""
    facts = [verdict["data"], f"{verdict['seeds']} seeds" if verdict["seeds"] else "", f"{verdict['scale']} scale", verdict["runs"]]
    foot = " · ".join(escape(fact) for fact in facts if fact)
    head = (
        f'{badge(verdict["verdict"])}{reason} <span class="sgd-claim-where">{escape(claim.kind)}, {escape(claim.where)}</span> '
        f'<code class="sgd-claim-id">{escape(claim.id)}</code>'
    )
    return (
        f'<div class="sgd-claim sgd-is-{verdict["verdict"].replace(" ", "-")}" id="claim-{escape(claim.id)}">'
        f'<div class="sgd-claim-head">{head}</div><p class="sgd-claim-says">{prose(claim.says)}</p>{paper}'
        f'{_table(verdict, committed)}{note}{changes}<p class="sgd-claim-foot">{foot}</p></div>'
    )


def printed(claim: Claim) -> str:
    """The paper's numbers in words."""
    return prose("; ".join(f"{_words(name)}: {_words(value)}" for name, value in claim.values.items()))


def measured(part: Record) -> str:
    """What was measured for one part: value, then interval and seeds, then detail."""
    if part["value"] is None:
        return "see the note" if part["kind"] == "note" else prose(part["detail"] or "no finite number")
    interval = f"[{number(part['interval'][0])}, {number(part['interval'][1])}]" if part["interval"] is not None else ""
    seeds = f"{part['seeds']} {'seed' if part['seeds'] == 1 else 'seeds'}" if part["seeds"] else ""
    beside = f' <span class="sgd-interval">{", ".join(filter(None, (interval, seeds)))}</span>' if interval or seeds else ""
    return number(part["value"]) + beside + (f' <span class="sgd-detail">{prose(part["detail"])}</span>' if part["detail"] else "")


def _table(verdict: Record, committed: Record | None) -> str:
    """The parts of the rule, a row each."""
    if not verdict["parts"]:
        return ""
    compared = verdict["scale"] != "paper" and any(part["kind"] != "note" for part in verdict["parts"])
    stored = {part["name"]: part for part in (committed or {}).get("parts", [])}
    judged = verdict["verdict"] != "not run"
    ours = ["ours, paper scale", f"ours, {verdict['scale']} scale"] if compared else [f"ours, {verdict['scale']} scale"]
    head = ["measured", "rule", *ours, "met"]
    rows = "".join(_row(part, stored.get(part["name"]), head, judged=judged) for part in verdict["parts"])
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="sgd-claim-table"><table class="sgd-claim-parts"><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(part: Record, stored: Record | None, head: list[str], *, judged: bool) -> str:
    """One part of a rule as a table row; each cell names its column, for screens too narrow for a table."""
    met = part["met"] if judged else None
    cells = [prose(part["measures"]), _bound(part)]
    if len(head) == 5:
        cells.append(measured(stored) if stored else '<span class="sgd-detail">no run yet</span>')
    cells.append(measured(part))
    told = "".join(f'<td data-label="{escape(name)}">{cell}</td>' for name, cell in zip(head[:-1], cells, strict=True))
    return f'<tr>{told}<td class="sgd-met sgd-met-{str(met).lower()}" data-label="met" aria-label="{LABELS[met]}">{MARKS[met]}</td></tr>'


def _bound(part: Record) -> str:
    """What the rule demands; a number that the paper prints stands first."""
    if part["kind"] == "value" and (split := re.fullmatch(r"(\S+) (in|within) (.+)", part["bound"])):
        return f'paper: {prose(split[1])} <span class="sgd-detail">{split[2]} {prose(split[3])}</span>'
    return prose(part["bound"])


def _words(value: object) -> str:
    """A value of the ledger without brackets and underscores; symbols such as h_s keep theirs, for a subscript."""
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    symbol = re.fullmatch(r"[A-Za-z]_[a-z]", str(value))
    return "none" if value is None else str(value) if symbol else str(value).replace("_", " ")
