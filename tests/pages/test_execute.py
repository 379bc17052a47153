"""Executing pages: one that works, and two that must fail."""

import os
import subprocess
import sys

import nbformat
import pytest

from sgdscope.claims import scorecard
from sgdscope.pages import find
from sgdscope.pages.execute import ExecutionFailed, execute
from sgdscope.pages.stage import status_table
from sgdscope.pages.table import parameters_markdown

pytestmark = pytest.mark.notebooks


@pytest.fixture
def output(pages):
    return pages / "build" / "quick" / "notebooks" / "toy" / "01_works.ipynb"


def test_a_page_that_works(pages, output, store):
    page = find("toy/01_works")
    values = page.values("smoke", {"num_steps": "5"})
    before = dict(os.environ)
    assert execute(page, "smoke", values, output, label="custom") == output
    assert dict(os.environ) == before

    notebook = nbformat.read(output, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["sgdscope"]["page"] == "toy/01_works" and notebook.metadata["sgdscope"]["scale"] == "custom"
    assert 0.3 < notebook.metadata["sgdscope"]["cpu_seconds"] < 60
    (injected,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    (defaults,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert "remove-cell" in injected.metadata["tags"] and "remove-cell" in defaults.metadata["tags"] and "num_steps = 5" in injected.source
    shown = notebook.cells[notebook.cells.index(defaults) - 1]
    assert shown.cell_type == "markdown" and shown.source == parameters_markdown(page, values)
    printed = notebook.cells[notebook.cells.index(injected) + 1].outputs[0].text
    assert printed == f"5 [0.1] toy/01_works custom 1 {pages}\n"

    found = scorecard.verdicts_of(notebook, page.name)
    assert {claim: record["verdict"] for claim, record in found.items()} == {"be-exact": "reproduced", "be-about": "not reproduced"}
    assert found["be-exact"]["scale"] == "custom"
    assert "<td>custom</td>" in status_table(output.parents[1]) and "not executed" in status_table(output.parents[1])


def test_a_page_that_raises(pages, output, store):
    page = find("toy/02_raises")
    message = rf"toy/02_raises: cell \d+ raised ValueError: no such thing as a free lunch\nThe notebook up to there: {output}"
    before = dict(os.environ)
    with pytest.raises(ExecutionFailed, match=message):
        execute(page, "quick", page.values("quick"), output)
    assert dict(os.environ) == before
    text = output.read_text()
    assert "so far" in text and "free lunch" in text
    assert nbformat.read(output, as_version=4).cells[-1].execution_count is None


def test_a_page_whose_kernel_dies(pages, output, store):
    page = find("toy/03_dies")
    with pytest.raises(ExecutionFailed, match="toy/03_dies: its kernel died, killed from outside or for want of memory"):
        execute(page, "quick", page.values("quick"), output)
    assert output.exists()


def test_pages_side_by_side(pages, output):
    code = (
        "import sys; from pathlib import Path; from sgdscope.pages import find; from sgdscope.pages.execute import execute; "
        "page = find('toy/02_raises'); execute(page, 'quick', page.values('quick'), Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code]
    side_by_side = [subprocess.Popen([*command, f"{output}.{i}"], cwd=pages, stderr=subprocess.PIPE, text=True) for i in range(3)]
    for process in side_by_side:
        assert "raised ValueError: no such thing as a free lunch" in process.communicate(timeout=300)[1]
