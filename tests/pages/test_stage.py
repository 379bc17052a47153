"""Putting a scale's book together from prose and executed notebooks."""

import json

import nbformat
import pytest

from sgdscope.claims import Evidence, Measurement, judge
from sgdscope.pages import stage
from sgdscope.pages.stage import fragments, landing_figure


@pytest.fixture
def built(pages, monkeypatch):
    """One page executed, with a figure and a verdict."""
    monkeypatch.setattr(stage, "LANDING", ("toy/01_works", "fig-curve"))
    figure = nbformat.v4.new_code_cell("show()", metadata={"mystnb": {"figure": {"name": "fig-curve"}}})
    html = '<div class="sgd-figure"><svg role="img"></svg><p class="sgd-download"><a>numbers</a></p></div>'
    figure.outputs = [nbformat.v4.new_output("display_data", data={"text/html": html})]
    verdict = judge("be-exact", Evidence({"error": Measurement(0.25)}))
    judged = nbformat.v4.new_code_cell("judge()", outputs=[nbformat.v4.new_output("display_data", data=verdict._repr_mimebundle_())])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1"), figure, judged])
    notebook.metadata["sgdscope"] = {"page": "toy/01_works", "scale": "quick", "cpu_seconds": 12.4}
    notebook.metadata["papermill"] = {"duration": 15.2}
    file = pages / "build" / "quick" / "notebooks" / "toy" / "01_works.ipynb"
    file.parent.mkdir(parents=True)
    nbformat.write(notebook, file)
    (pages / "book" / "intro.md").write_text("# Intro\n")
    return pages / "build" / "quick"


def test_staging(built, pages):
    stage.stage("quick", built)
    assert (built / "book" / "intro.md").read_text() == "# Intro\n"
    generated = {file.stem for file in (built / "book" / "_generated").iterdir()}
    assert {"scorecard_summary", "scorecard_table", "errata_table", "pages", "landing_figure", "scorecard_break_even"} <= generated
    (pages / "book" / "intro.md").rename(pages / "book" / "start.md")
    stage.stage("quick", built)
    assert (built / "book" / "start.md").exists() and not (built / "book" / "intro.md").exists()


def test_fragments_hold_what_was_executed(built):
    parts = fragments("quick", built / "notebooks")
    assert all(text.count("```") % 2 == 0 for text in parts.values())
    assert "be-exact" in parts["scorecard_break_even"] and "sgd-reproduced" in parts["scorecard_break_even"]
    assert '<a href="../notebooks/toy/01_works.html">A toy page</a></td><td>quick</td><td>12</td><td>15</td><td>1</td>' in parts["pages"]
    assert parts["pages"].count("not executed") == 2
    assert "<svg" in parts["landing_figure"] and "sgd-download" not in parts["landing_figure"]


def test_the_landing_figure_may_be_missing(built):
    file = built / "notebooks" / "toy" / "01_works.ipynb"
    notebook = json.loads(file.read_text())
    notebook["cells"][1]["outputs"] = []
    file.write_text(json.dumps(notebook))
    assert "<strong>Not computed.</strong> The figure of toy/01_works is missing" in landing_figure(built / "notebooks")
    file.unlink()
    assert "Not computed" in landing_figure(built / "notebooks")
