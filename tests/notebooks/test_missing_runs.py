"""A page at a scale that nobody has computed: it says what is missing, cell by cell, and never fails."""

import ast

import pytest

from sgdscope.claims.judge import Verdict
from sgdscope.figures import Sentence, Shown
from sgdscope.pages import all_pages


def shown(page, values):
    """What the code cells of a page show, run here one after the other."""
    names, found = {}, []
    for cell in page.notebook.cells:
        if cell.cell_type != "code":
            continue
        if "parameters" in cell.metadata.get("tags", []):
            names |= values
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page.name, "exec"), names)
        if last is not None:
            found.append(eval(compile(ast.Expression(last.value), page.name, "eval"), names))
    return found


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_a_page_without_runs_says_so(page, store, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_COMPUTE", "never")
    monkeypatch.setattr("sgdscope.runs.store.results_file", lambda run, key: None)  # not even committed ones
    outputs = shown(page, page.values("smoke"))
    assert all("Not computed." in output.html for output in outputs if isinstance(output, Shown))
    assert all("missing at this scale" in output.text for output in outputs if isinstance(output, Sentence))
    verdicts = [output for output in outputs if isinstance(output, Verdict)]
    assert [verdict.id for verdict in verdicts] == page.claims
    for verdict in verdicts:
        assert verdict.reason.endswith("runs are missing") or verdict.runs == "computed on the page", verdict
    count = len(page.experiment().configurations(**page.values("smoke")))
    assert f"none; {count} missing" in repr(outputs[-1])
    assert not list(store.glob("runs/**/*.parquet"))
