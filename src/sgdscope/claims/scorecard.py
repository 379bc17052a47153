"""The scorecard: verdicts read from executed notebooks and from the committed record, counted and laid out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from sgdscope.claims.card import badge, printed
from sgdscope.claims.judge import MIME, VERDICTS
from sgdscope.claims.ledger import Claim, load_ledger
from sgdscope.claims.record import Record, committed_file, committed_verdicts
from sgdscope.claims.words import number, prose

MISSING = "missing"  # no page judges it yet
PAPERS = {
    "gradient_variance": "Gradient variance",
    "gradient_structure": "Structure of stochastic gradients",
    "luck_matters": "Luck matters",
    "break_even": "Break-even point",
    "synthesis": "Synthesis",
}


def verdicts_of(notebook: Mapping[str, Any], page: str) -> dict[str, Record]:
    """Verdicts in an executed notebook, by claim."""
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if record := output.get("data", {}).get(MIME):
                found[record["id"]] = {**record, "page": page}
    return found


def verdicts_in(folder: Path) -> dict[str, Record]:
    """Verdicts of all executed notebooks below a folder (``build/<scale>/notebooks``)."""
    found: dict[str, Record] = {}
    for file in sorted(folder.glob("*/*.ipynb")):
        found |= verdicts_of(json.loads(file.read_text(encoding="utf-8")), file.relative_to(folder).with_suffix("").as_posix())
    return found


def write_committed(verdicts: Mapping[str, Record]) -> Path:
    """Write the verdicts of executed paper-scale pages into the committed record, in place of what they said; those of other pages stay."""
    file = committed_file()
    executed = {record["page"] for record in verdicts.values()}
    merged = {claim: record for claim, record in committed_verdicts().items() if record["page"] not in executed} | dict(verdicts)
    ordered = {claim: merged[claim] for claim in load_ledger() if claim in merged}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def count(verdicts: Mapping[str, Record], claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims have each verdict, those without one under ``missing``."""
    counted = Counter(verdicts[claim.id]["verdict"] if claim.id in verdicts else MISSING for claim in claims)
    return {verdict: counted[verdict] for verdict in (*VERDICTS, MISSING)}


def summary_markdown(verdicts: Mapping[str, Record]) -> str:
    """Counts by paper as a plain Markdown table, for the README."""
    lines = [
        "| paper | claims | reproduced | partly | not reproduced | not run | no page yet |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    total: Counter[str] = Counter()
    for paper, title in PAPERS.items():
        claims = [claim for claim in load_ledger().values() if claim.paper == paper]
        counted = count(verdicts, claims)
        total.update(counted)
        lines.append(_counts_row(title, len(claims), counted))
    lines.append(_counts_row("**all**", len(load_ledger()), total))
    return "\n".join(lines) + "\n"


def summary_html(verdicts: Mapping[str, Record]) -> str:
    """Counts in words and by paper as stacked bars with their numbers."""
    claims = list(load_ledger().values())
    whole = count(verdicts, claims)
    figures = "".join(
        f'<li><b>{n}</b> <span class="sgd-key sgd-{verdict.replace(" ", "-")}"></span>{_said(verdict)}</li>'
        for verdict, n in whole.items()
        if n
    )
    rows = []
    for paper, title in PAPERS.items():
        of_paper = [claim for claim in claims if claim.paper == paper]
        counted = count(verdicts, of_paper)
        said = ", ".join(f"{n} {_said(verdict)}" for verdict, n in counted.items() if n)
        parts = "".join(
            f'<span class="sgd-bar-part sgd-{verdict.replace(" ", "-")}" style="flex-grow:{n}" title="{n} {_said(verdict)}"></span>'
            for verdict, n in counted.items()
            if n
        )
        rows.append(
            f'<div class="sgd-bar-row"><div class="sgd-bar-label">{escape(title)} <span>{len(of_paper)} claims</span></div>'
            f'<div class="sgd-bar" role="img" aria-label="{escape(title)}: {said}">{parts}</div><div class="sgd-bar-said">{said}</div></div>'
        )
    return f'<ul class="sgd-totals"><li><b>{len(claims)}</b> claims</li>{figures}</ul><div class="sgd-bars">{"".join(rows)}</div>\n'


def table_html(
    claims: Iterable[Claim],
    here: Mapping[str, Record],
    committed: Mapping[str, Record],
    scale: str,
    up: str,
    *,
    says: str = "what the paper says",
) -> str:
    """All claims with the paper's numbers, ours at paper scale, ours in this build, and a link to the page; those without a page folded away.

    Args:
        claims: the rows.
        here: verdicts of this build.
        committed: verdicts at paper scale.
        scale: scale of this build.
        up: path from the showing document to the root of the book, for links.
        says: heading of the second column.
    """
    claims = list(claims)
    waiting = [claim for claim in claims if not (claim.rule or claim.id in here or claim.id in committed)]
    judged = [claim for claim in claims if claim not in waiting]
    ours = ["ours, paper scale", f"ours, this build ({scale})"]
    shown = _table(judged, says, ours, lambda claim: _judged(claim, here.get(claim.id), committed.get(claim.id), up)) if judged else ""
    if not waiting:
        return shown + "\n"
    return (
        f'{shown}<details class="sgd-waiting"><summary>{len(waiting)} {"claim" if len(waiting) == 1 else "claims"} without a page yet</summary>'
        f"{_table(waiting, says, [], lambda claim: (MISSING, escape(claim.id), ''))}</details>\n"
    )


def _said(verdict: str) -> str:
    """A verdict, or its absence, in words."""
    return verdict if verdict != MISSING else "without a page yet"


def _table(claims: list[Claim], says: str, ours: list[str], shown: Callable[[Claim], tuple[str, str, str]]) -> str:
    """A table of claims; the paper's numbers have a column if there are any.

    Args:
        claims: the rows.
        says: heading of the second column.
        ours: headings of the last columns.
        shown: verdict, name and the cells of the last columns of a claim.
    """
    numbers = any(claim.values for claim in claims)
    rows = []
    for claim in claims:
        verdict, name, cells = shown(claim)
        rows.append(
            f'<tr id="score-{escape(claim.id)}" data-verdict="{escape(verdict)}">'
            f'<td><code>{name}</code><br><span class="sgd-claim-where">{escape(claim.where)}</span></td><td>{prose(claim.says)}</td>'
            + (f'<td class="sgd-printed" data-label="printed">{printed(claim)}</td>' if numbers else "")
            + f"{cells}</tr>"
        )
    head = f"<th>claim</th><th>{escape(says)}</th>" + ('<th class="sgd-printed">printed</th>' if numbers else "")
    head += "".join(f'<th class="sgd-ours">{escape(name)}</th>' for name in ours)
    return f'<div class="sgd-table-wrap"><table class="sgd-scorecard"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _judged(claim: Claim, here: Record | None, committed: Record | None, up: str) -> tuple[str, str, str]:
    """Verdict, name and cells of a claim that has a rule; its name links to its page, if one has judged it."""
    record = here or committed or {}
    page = record.get("page")
    name = f'<a href="{up}notebooks/{escape(page)}.html#claim-{escape(claim.id)}">{escape(claim.id)}</a>' if page else escape(claim.id)
    cells = f'<td data-label="paper scale">{_verdict(committed)}</td><td data-label="this build">{_verdict(here)}</td>'
    return record.get("verdict", "not run"), name, cells


def _verdict(record: Record | None) -> str:
    """A verdict with its measured numbers, or why there is none."""
    if record is None:
        return '<span class="sgd-badge sgd-missing-verdict">not run yet</span>'
    reason = f'<br><span class="sgd-detail">{escape(record["reason"])}</span>' if record["reason"] else ""
    if record["verdict"] == "not run":
        return badge(record["verdict"]) + reason
    numbers = "; ".join(number(part["value"]) for part in record["parts"] if part["value"] is not None)
    met = f"{sum(part['met'] for part in record['parts'])} of {len(record['parts'])} met"
    told = f"{met}: {numbers}" if numbers else met
    return f'{badge(record["verdict"])}{reason}<br><span class="sgd-detail">{told}</span>'


def _counts_row(title: str, claims: int, counted: Mapping[str, int]) -> str:
    """One row of counts in Markdown."""
    return f"| {title} | {claims} | " + " | ".join(str(counted[verdict]) for verdict in (*VERDICTS, MISSING)) + " |"
