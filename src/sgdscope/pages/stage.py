"""Staging the book: its prose and generated fragments beside the executed notebooks, for one scale."""

from __future__ import annotations

import json
import re
import shutil
from html import escape
from pathlib import Path

from sgdscope import paths
from sgdscope.claims import scorecard
from sgdscope.claims.card import claim_card
from sgdscope.claims.ledger import Claim, load_ledger
from sgdscope.pages.page import Page, all_pages

LANDING = ("break_even/01_model", "fig-phase-diagram")  # page and figure shown on the landing page


def stage(scale: str, folder: Path) -> None:
    """Copy ``book/`` into ``folder/book`` and write its generated fragments from the executed notebooks in ``folder/notebooks``."""
    shutil.rmtree(folder / "book", ignore_errors=True)  # with pages that are no longer in the book
    shutil.copytree(paths.repository() / "book", folder / "book")
    generated = folder / "book" / "_generated"
    generated.mkdir(exist_ok=True)
    for name, text in fragments(scale, folder / "notebooks").items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")


def fragments(scale: str, notebooks: Path) -> dict[str, str]:
    """The generated parts of the book by name: scorecards, the errata, the status of all pages, the landing figure."""
    here, committed = scorecard.verdicts_in(notebooks), scorecard.committed_verdicts()
    claims = list(load_ledger().values())
    errata = [claim for claim in claims if claim.kind == "erratum" and (claim.id in here or claim.id in committed)]
    parts = {
        "scorecard_summary": scorecard.summary_html(committed),
        "scorecard_table": _html('<div class="sgd-filter" hidden></div>\n')
        + _by_paper(lambda paper: scorecard.table_html(_of(claims, paper), here, committed, scale, "../")),
        "errata_table": _html(scorecard.table_html(errata, here, committed, scale, "../", says="the slip (reproduced: it is real)")),
        "pages": _html(status_table(notebooks)),
        "landing_figure": _html(landing_figure(notebooks)),
        "example_card": _html(example_card() + "\n"),
    }
    parts["scorecard_summary"] = _html(parts["scorecard_summary"])
    for paper in scorecard.PAPERS:
        parts[f"scorecard_{paper}"] = _html(scorecard.table_html(_of(claims, paper), here, committed, scale, "../"))
    return parts


def status_table(notebooks: Path) -> str:
    """Run times, scale and result of every page, from the metadata that the execution left."""
    rows = []
    for page in all_pages():
        file = notebooks / f"{page.name}.ipynb"
        if file.is_file():
            notebook = json.loads(file.read_text(encoding="utf-8"))
            seconds = notebook["metadata"].get("papermill", {}).get("duration") or 0.0
            cpu = notebook["metadata"].get("sgdscope", {}).get("cpu_seconds")
            scale = notebook["metadata"].get("sgdscope", {}).get("scale", "")
            count = len(scorecard.verdicts_of(notebook, page.name))
            rows.append(
                f'<tr><td><a href="../notebooks/{escape(page.name)}.html">{escape(page.title)}</a></td><td>{escape(scale)}</td>'
                f"<td>{f'{cpu:.0f}' if cpu is not None else '–'}</td><td>{seconds:.0f}</td><td>{count}</td></tr>"
            )
        else:
            rows.append(f"<tr><td>{escape(page.title)}</td><td>not executed</td><td>–</td><td>–</td><td>–</td></tr>")
    return (
        '<div class="sgd-table-wrap"><table><thead><tr><th>page</th><th>scale</th><th>CPU time (s)</th><th>wall time (s)</th>'
        f"<th>claims judged</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def landing_figure(notebooks: Path) -> str:
    """The landing page's figure, taken from an executed page."""
    name, figure = LANDING
    file = notebooks / f"{name}.ipynb"
    if file.is_file():
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == figure:
                for output in cell["outputs"]:
                    html = "".join(output.get("data", {}).get("text/html", ""))
                    if "<svg" in html:
                        drawing = re.sub(r'<p class="sgd-download">.*?</p>', "", html, flags=re.DOTALL)
                        caption = escape(cell["metadata"]["mystnb"]["figure"].get("caption", ""))
                        return f'<figure class="sgd-landing">{drawing}<figcaption>{caption}</figcaption></figure>\n'
    return (
        f'<div class="sgd-missing"><strong>Not computed.</strong> The figure of {escape(Page(name).name)} is missing in this build.</div>\n'
    )


def example_card() -> str:
    """A made-up claim card, for the page that explains them."""
    says = "Doubling the batch halves the variance of the mini-batch gradient, and training gets there in fewer steps."
    claim = Claim("example", "synthesis", "Sec. 0", "statement", says, show="", values={"ratio": 0.5}, rule=())
    identity = {"name": "ratio", "kind": "identity", "measures": "difference of the ratio of variances from 1/2", "bound": "at most 1e-10"}
    direction = {"name": "steps", "kind": "direction", "measures": "steps saved", "bound": "positive, 95% interval"}
    parts = [
        {**identity, "met": True, "value": 3.1e-16, "interval": None, "seeds": 0, "detail": "40 batches"},
        {**direction, "met": False, "value": 12.0, "interval": (-9.0, 33.0), "seeds": 5, "detail": ""},
    ]
    stored = {
        "parts": [
            {**parts[0], "value": 4.4e-16, "detail": "400 batches"},
            {**parts[1], "met": True, "value": 15.2, "interval": (8.1, 22.0), "seeds": 20},
        ]
    }
    note = "In this build the interval over five seeds includes zero, so the second part is not met."
    facts = {"data": "fashion_mnist (shipped subset)", "scale": "quick", "runs": "10 runs of this source", "seeds": 5}
    return claim_card(claim, {"verdict": "partly", "reason": "", "parts": parts, "note": note, **facts}, stored)


def _of(claims: list, paper: str) -> list:
    """Claims of one paper."""
    return [claim for claim in claims if claim.paper == paper]


def _by_paper(table) -> str:  # noqa: ANN001
    """One section a paper."""
    return "\n".join(f"## {title}\n\n{_html(table(paper))}" for paper, title in scorecard.PAPERS.items())


def _html(text: str) -> str:
    """HTML inside a MyST document."""
    return f"```{{raw}} html\n{text}```\n"
