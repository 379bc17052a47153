"""The scorecard: verdicts read from executed notebooks and from the committed record, counted and laid out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from sgdscope import paths
from sgdscope.claims.card import Record, badge, number
from sgdscope.claims.judge import MIME, VERDICTS
from sgdscope.claims.ledger import Claim, load_ledger

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


def committed_file() -> Path:
    """The committed record of the verdicts at paper scale."""
    return paths.repository() / "results" / "verdicts.json"


def committed_verdicts() -> dict[str, Record]:
    """The verdicts at paper scale, by claim; empty where none is committed."""
    file = committed_file()
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


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
    """Counts by paper as stacked bars with their numbers."""
    rows = []
    for paper, title in PAPERS.items():
        claims = [claim for claim in load_ledger().values() if claim.paper == paper]
        counted = count(verdicts, claims)
        said = ", ".join(f"{n} {verdict if verdict != MISSING else 'without a page yet'}" for verdict, n in counted.items() if n)
        parts = "".join(
            f'<span class="sgd-bar-part sgd-{verdict.replace(" ", "-")}" style="flex-grow:{n}" title="{n} {verdict}"></span>'
            for verdict, n in counted.items()
            if n
        )
        rows.append(
            f'<div class="sgd-bar-row"><div class="sgd-bar-label">{escape(title)} <span>{len(claims)} claims</span></div>'
            f'<div class="sgd-bar" role="img" aria-label="{escape(title)}: {said}">{parts}</div><div class="sgd-bar-said">{said}</div></div>'
        )
    return f'<div class="sgd-bars">{"".join(rows)}</div>\n'


def table_html(
    claims: Iterable[Claim],
    here: Mapping[str, Record],
    committed: Mapping[str, Record],
    scale: str,
    up: str,
    *,
    says: str = "what the paper says",
) -> str:
    """All claims with the paper's numbers, ours at paper scale, ours in this build, and a link to the page.

    Args:
        claims: the rows.
        here: verdicts of this build.
        committed: verdicts at paper scale.
        scale: scale of this build.
        up: path from the showing document to the root of the book, for links.
        says: heading of the second column.
    """
    rows = "".join(_row(claim, here.get(claim.id), committed.get(claim.id), up) for claim in claims)
    return (
        '<div class="sgd-table-wrap"><table class="sgd-table sgd-scorecard"><thead><tr><th>claim</th><th>' + escape(says) + "</th>"
        f"<th>paper's numbers</th><th>paper scale</th><th>this build ({escape(scale)})</th></tr></thead><tbody>{rows}</tbody></table></div>\n"
    )


def _row(claim: Claim, here: Record | None, committed: Record | None, up: str) -> str:
    """One claim of the scorecard."""
    page = (here or committed or {}).get("page")
    otherwise = "not run yet" if claim.rule else "no page yet"
    link = f'<a href="{up}notebooks/{escape(page)}.html#claim-{escape(claim.id)}">{escape(claim.id)}</a>' if page else escape(claim.id)
    return (
        f'<tr id="score-{escape(claim.id)}"><td><code>{link}</code><br><span class="sgd-claim-where">{escape(claim.where)}</span></td>'
        f"<td>{escape(claim.says)}</td><td data-label='paper'>{escape(_values(claim.values))}</td>"
        f"<td data-label='paper scale'>{_verdict(committed, otherwise)}</td><td data-label='this build'>{_verdict(here, otherwise)}</td></tr>"
    )


def _verdict(record: Record | None, otherwise: str) -> str:
    """A verdict with its measured numbers, or why there is none."""
    if record is None:
        return f'<span class="sgd-badge sgd-missing-verdict">{otherwise}</span>'
    numbers = [number(part["value"]) for part in record["parts"] if part["value"] is not None] if record["verdict"] != "not run" else []
    reason = f'<br><span class="sgd-detail">{escape(record["reason"])}</span>' if record["reason"] else ""
    return badge(record["verdict"]) + reason + (f'<br><span class="sgd-detail">{"; ".join(numbers)}</span>' if numbers else "")


def _values(values: Mapping[str, Any]) -> str:
    """The paper's numbers in words, shortened."""
    text = "; ".join(f"{_words(name)}: {_words(value)}" for name, value in values.items())
    return text if len(text) <= 160 else text[:157] + "…"


def _words(value: Any) -> str:
    """A value of the ledger without brackets and underscores."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "none" if value is None else str(value).replace("_", " ")


def _counts_row(title: str, claims: int, counted: Mapping[str, int]) -> str:
    """One row of counts in Markdown."""
    return f"| {title} | {claims} | " + " | ".join(str(counted[verdict]) for verdict in (*VERDICTS, MISSING)) + " |"
