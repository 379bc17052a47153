"""Verdicts from executed notebooks into the scorecard, the committed record and the README."""

import json
import re

import nbformat
import pytest

from sgdscope.claims import Evidence, Measurement, judge, load_ledger, scorecard
from sgdscope.errors import InvalidInput
from sgdscope.pages import readme


def notebook(*verdicts):
    """An executed notebook that shows these verdicts, through nbformat's own JSON."""
    outputs = [nbformat.v4.new_output("display_data", data=verdict._repr_mimebundle_()) for verdict in verdicts]
    cells = [nbformat.v4.new_markdown_cell("# Title"), *(nbformat.v4.new_code_cell("judge()", outputs=[output]) for output in outputs)]
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("print()")])


def judged(claim="be-exact", part="error", value=0.25, **options):
    return judge(claim, Evidence({part: Measurement(value, **options)}))


@pytest.fixture
def executed(ledger):
    """Two executed pages below a folder."""
    folder = ledger / "build" / "quick" / "notebooks"
    for page, verdicts in {
        "break_even/01_model": [judged(), judged("be-about", "size", 99)],
        "break_even/02_other": [judged("be-up", "slope", 1, interval=(0.5, 1.5), seeds=2)],
    }.items():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook(*verdicts), folder / f"{page}.ipynb")
    return folder


def test_verdicts_go_through_a_notebook(executed):
    found = scorecard.verdicts_in(executed)
    assert {claim: (record["verdict"], record["page"]) for claim, record in found.items()} == {
        "be-exact": ("reproduced", "break_even/01_model"),
        "be-about": ("not reproduced", "break_even/01_model"),
        "be-up": ("not run", "break_even/02_other"),
    }
    assert found["be-exact"] == json.loads(json.dumps(judged().as_dict())) | {"page": "break_even/01_model"}


def test_nothing_executed(ledger):
    assert scorecard.verdicts_in(ledger / "nowhere") == {}
    assert scorecard.committed_verdicts() == {}


def test_counts(executed):
    found, claims = scorecard.verdicts_in(executed), load_ledger().values()
    assert scorecard.count(found, claims) == {"reproduced": 1, "partly": 0, "not reproduced": 1, "not run": 1, "missing": 5}
    summary = scorecard.summary_markdown(found)
    assert "| Break-even point | 7 | 1 | 0 | 1 | 1 | 4 |" in summary
    assert "| **all** | 8 | 1 | 0 | 1 | 1 | 5 |" in summary
    assert 'aria-label="Break-even point: 1 reproduced, 1 not reproduced, 1 not run, 4 without a page yet"' in scorecard.summary_html(found)


def test_the_table(executed):
    found = scorecard.verdicts_in(executed)
    html = scorecard.table_html(load_ledger().values(), found, {"be-exact": {**found["be-exact"], "verdict": "partly"}}, "quick", "../")
    rows = {claim: html[html.index(f'id="score-{claim}"') :].split("</tr>")[0] for claim in load_ledger()}
    assert 'href="../notebooks/break_even/01_model.html#claim-be-exact"' in rows["be-exact"]
    assert rows["be-exact"].index("sgd-partly") < rows["be-exact"].index("sgd-reproduced")  # paper scale, then this build
    assert "0.25" in rows["be-exact"] and "Exact &lt;i&gt;" in rows["be-exact"]
    assert "a direction needs 3 seeds: slope" in rows["be-up"] and "slope: 2" in rows["be-up"]
    assert "1 of 1 met: 0.25" in rows["be-exact"] and rows["be-down"].count("not run yet") == 2
    judged, waiting = html.split('<details class="sgd-waiting">')
    assert (
        "1 claim without a page yet" in waiting and 'id="score-lm-none" data-verdict="missing"' in waiting and "href" not in rows["lm-none"]
    )
    assert 'id="score-be-exact" data-verdict="reproduced"' in judged  # what the filter reads: this build's


def test_the_summary_counts_all(executed):
    html = scorecard.summary_html(scorecard.verdicts_in(executed))
    totals = re.findall(r"<li><b>(\d+)</b>", html)
    assert totals[0] == "8" and sum(map(int, totals[1:])) == 8


def test_the_committed_record_keeps_other_pages(executed):
    other = {**judged("be-down", "slope", -1, interval=(-2, -1), seeds=3).as_dict(), "page": "break_even/03_third"}
    dropped = {**judged("be-inside", "size", 10).as_dict(), "page": "break_even/01_model"}  # which no longer judges it
    assert not (executed.parents[2] / "results").exists()
    scorecard.write_committed({"be-down": other, "be-inside": dropped})
    file = scorecard.write_committed(scorecard.verdicts_in(executed))
    committed = scorecard.committed_verdicts()
    assert list(committed) == ["be-exact", "be-up", "be-down", "be-about"]  # in the ledger's order
    assert committed["be-down"]["page"] == "break_even/03_third"
    before = file.read_bytes()
    scorecard.write_committed(scorecard.verdicts_in(executed))
    assert file.read_bytes() == before


def test_the_readme_follows_the_record(executed):
    file = executed.parents[2] / "README.md"
    file.write_text("# sgdscope\n\n<!-- scorecard: written by sgdscope results verdicts -->\nold\n<!-- /scorecard -->\n\nend\n")
    scorecard.write_committed(scorecard.verdicts_in(executed))
    readme.update()
    text = file.read_text()
    assert "old" not in text and "| **all** | 8 | 1 | 0 | 1 | 1 | 5 |" in text
    assert text.startswith("# sgdscope\n\n<!-- scorecard") and text.endswith("<!-- /scorecard -->\n\nend\n")
    assert readme.updated(text) == text


def test_a_readme_without_the_block(ledger):
    with pytest.raises(InvalidInput, match="README.md has no scorecard block"):
        readme.updated("# sgdscope\n")


def test_our_readme_agrees_with_our_record():
    from sgdscope import paths

    load_ledger.cache_clear()
    text = (paths.repository() / "README.md").read_text(encoding="utf-8")
    assert readme.updated(text) == text, "run: sgdscope results verdicts"
