"""How claims and verdicts look: badges, claim cards, numbers. All text is escaped."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from sgdscope.claims.ledger import Claim

Record = dict[str, Any]  # a verdict as plain values, see ``Verdict.as_dict``


def badge(verdict: str) -> str:
    """A verdict as a badge."""
    return f'<span class="sgd-badge sgd-{verdict.replace(" ", "-")}">{escape(verdict)}</span>'


def number(value: float) -> str:
    """A number for people: three significant digits, powers of ten typeset."""
    if value != value:
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa} × 10<sup>{int(exponent)}</sup>".replace("-", "−")
    return text.replace("-", "−")


def claim_card(claim: Claim, verdict: Record) -> str:
    """A judged claim: what the paper says, our verdict, and each part of the rule with what was measured."""
    reason = f' <span class="sgd-reason">({escape(verdict["reason"])})</span>' if verdict["reason"] else ""
    rows = "".join(_row(part, judged=verdict["verdict"] != "not run") for part in verdict["parts"])
    parts = (
        '<div class="sgd-claim-table"><table class="sgd-table sgd-claim-parts"><thead><tr><th>measured</th><th>rule</th><th>ours</th>'
        f"<th>met</th></tr></thead><tbody>{rows}</tbody></table></div>"
        if rows
        else ""
    )
    note = f'<p class="sgd-claim-note">{escape(verdict["note"])}</p>' if verdict["note"] else ""
    changes = "".join(
        f'<p class="sgd-claim-changed">Rule changed on {escape(str(change["date"]))}: {escape(change["what"])} ({escape(change["why"])})</p>'
        for change in claim.changed
    )
    facts = [verdict["data"], f"{verdict['seeds']} seeds" if verdict["seeds"] else "", f"{verdict['scale']} scale", verdict["runs"]]
    foot = " · ".join(escape(fact) for fact in facts if fact)
    return (
        f'<div class="sgd-claim" id="claim-{escape(claim.id)}"><div class="sgd-claim-head">{badge(verdict["verdict"])}{reason} '
        f'<code class="sgd-claim-id">{escape(claim.id)}</code> <span class="sgd-claim-where">{escape(claim.kind)}, {escape(claim.where)}</span></div>'
        f'<p class="sgd-claim-says">{escape(claim.says)}</p>{parts}{note}{changes}<p class="sgd-claim-foot">{foot}</p></div>'
    )


def _row(part: Record, *, judged: bool) -> str:
    """One part of a rule as a table row."""
    if part["value"] is None:
        ours = "see the note" if part["kind"] == "note" else escape(part["detail"] or "no finite number")
    else:
        ours = number(part["value"])
        if part["interval"] is not None:
            ours += f' <span class="sgd-interval">[{number(part["interval"][0])}, {number(part["interval"][1])}]</span>'
        if part["detail"]:
            ours += f' <span class="sgd-detail">{escape(part["detail"])}</span>'
    met = ("✓" if part["met"] else "✗") if judged else "–"
    label = ("met" if part["met"] else "not met") if judged else "not judged"
    return (
        f"<tr><td>{escape(part['measures'])}</td><td>{escape(part['bound'])}</td><td>{ours}</td>"
        f'<td class="sgd-met" aria-label="{label}">{met}</td></tr>'
    )
