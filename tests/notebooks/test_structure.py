"""What every notebook of the book looks like, read from its source; nothing is executed."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
from collections import Counter

import nbformat
import pytest

from sgdscope import paths
from sgdscope.claims import load_ledger
from sgdscope.claims.scorecard import PAPERS
from sgdscope.pages import SCALES, Page, all_pages
from sgdscope.pages.execute import execute
from sgdscope.runs import run_of

PAGES = {page.name: page for page in all_pages()}


class Template(Page):
    """The page to copy, ``docs/template.py``: it keeps the rules that it teaches."""

    file = paths.repository() / "docs" / "template.py"

    def experiment(self):
        """That of the page whose runs it borrows."""
        return importlib.import_module("sgdscope.experiments.break_even.model")


TEMPLATE = Template("break_even/00_template")
every_page = pytest.mark.parametrize("page", [*PAGES.values(), TEMPLATE], ids=[*PAGES, "template"])

MOST_STATEMENTS = 3  # of a cell; more is logic, which belongs where a test can reach it
LONGEST_SHOWN = 3  # lines of code that stand open on the page
LOGIC = (
    ast.For, ast.While, ast.With, ast.If, ast.Try, ast.Match, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Delete, ast.Global, ast.Assert, ast.Raise,
)  # fmt: skip


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def code(page):
    return code_cells(page.notebook)


def tags(cell):
    return cell.metadata.get("tags", [])


def calls(cell, name):
    """Calls of a plain function in a cell."""
    tree = ast.parse(cell.source)
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name]


def text(call, keyword):
    """A keyword's literal text."""
    return next((ast.literal_eval(given.value) for given in call.keywords if given.arg == keyword), None)


def figures(page):
    """(cell, call of show) of all figures."""
    return [(cell, call) for cell in code(page) for call in calls(cell, "show")]


def judged(page):
    """Ids in the calls of judge, in order."""
    return [ast.literal_eval(call.args[0]) for cell in code(page) for call in calls(cell, "judge")]


# Files


def test_there_are_pages_and_nothing_else():
    folder = paths.repository() / "notebooks"
    sources = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.py")}
    assert sources == set(PAGES) and PAGES
    assert {page.paper for page in PAGES.values()} <= set(PAPERS)
    sets = {file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml")}
    assert sets == {f"{name}.{scale}.yaml" for name in PAGES for scale in SCALES if scale != "quick"}, "two parameter sets a page"


def test_no_notebook_files_in_git():
    if not (shutil.which("git") and (paths.repository() / ".git").exists()):
        pytest.skip("no git checkout")
    listed = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=paths.repository(), capture_output=True, text=True, check=True)
    assert listed.stdout == ""


# Parameters


@every_page
def test_parameters(page):
    assert sum("parameters" in tags(cell) for cell in code(page)) == 1
    assert page.parameters, "literals only, or reading them raises"
    assert [name for name, parameter in page.parameters.items() if not parameter.says] == [], "a comment each: what it is, its unit"


@every_page
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_its_runs(page, scale):
    values = page.values(scale)  # refuses unknown names and wrong types
    assert set(values) == set(page.parameters)
    configs = page.experiment().configurations(**values)
    keys = Counter((run_of(config).name, run_of(config).key(config)) for config in configs)
    assert configs and set(keys.values()) == {1}


@every_page
def test_the_experiment_takes_the_page_s_parameters(page):
    module = page.experiment()
    function = getattr(module, "runs", module.configurations)
    assert list(inspect.signature(function).parameters) == list(page.parameters)


@every_page
def test_smoke_is_not_larger_than_quick(page):
    smoke, quick = (page.experiment().configurations(**page.values(scale)) for scale in ("smoke", "quick"))
    assert len(smoke) < len(quick)


# Cells


@every_page
def test_imports_stand_in_the_first_code_cell(page):
    first, *others = code(page)
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(first.source).body)
    assert "parameters" in tags(others[0]), "parameters come next"
    late = [cell.source for cell in others for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert late == []


@every_page
def test_cells_hold_no_logic(page):
    for cell in code(page)[1:]:
        tree = ast.parse(cell.source)  # no magics, no shell
        if "parameters" not in tags(cell):
            assert len(tree.body) <= MOST_STATEMENTS, cell.source
        found = [type(node).__name__ for node in ast.walk(tree) if isinstance(node, LOGIC)]
        assert found == [], cell.source
        assert "environ" not in cell.source and "print(" not in cell.source, cell.source


@every_page
def test_long_cells_are_folded(page):
    for cell in code(page):
        if "parameters" in tags(cell):
            continue
        lines = cell.source.splitlines()
        if len(lines) > LONGEST_SHOWN or max(map(len, lines)) > 140:
            assert {"hide-input", "remove-input", "remove-cell"} & set(tags(cell)), cell.source


@every_page
def test_tags_are_known(page):
    known = {"parameters", "hide-input", "remove-cell", "remove-input", "nbval-check-output"}
    assert {tag for cell in code(page) for tag in tags(cell)} <= known


@every_page
def test_some_outputs_are_compared_when_the_page_runs_again(page):
    flagged = [cell for cell in code(page) if "nbval-check-output" in tags(cell)]
    assert flagged, "a cell tagged nbval-check-output with rounded values or truth values"
    assert all("remove-cell" in tags(cell) for cell in flagged), "it is for the tests, not for readers"


@every_page
def test_sections(page):
    prose = "\n".join(cell.source for cell in page.notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.+)$", prose, flags=re.MULTILINE)
    assert headings[:2] == ["What the paper claims", "Parameters"] and headings[-2:] == ["Deviations from the paper", "Provenance"]
    assert len(re.findall(r"^# .+$", prose, flags=re.MULTILINE)) == 1
    assert code(page)[-1].source.strip() == "provenance_card()"


# Figures


@every_page
def test_figures_have_name_caption_and_alt_text(page):
    assert figures(page)
    for cell, call in figures(page):
        described = cell.metadata.get("mystnb", {}).get("figure", {})
        name = text(call, "name")
        assert described.get("name") == f"fig-{name}", cell.source
        assert re.fullmatch(r"[A-Z].{30,}\.", described.get("caption", ""), flags=re.DOTALL), f"fig-{name}: a caption is a sentence or more"
        assert len(text(call, "alt")) >= 60 and text(call, "alt").endswith("."), f"fig-{name}: alt text says what the figure shows"
        assert any(keyword.arg == "numbers" for keyword in call.keywords), f"fig-{name}: numbers to download"


@every_page
def test_only_figures_are_described_as_figures(page):
    described = [cell for cell in code(page) if "figure" in cell.metadata.get("mystnb", {})]
    assert described == [cell for cell, _ in figures(page)]


def test_names_of_figures_are_unique_in_the_book():
    names = Counter(text(call, "name") for page in PAGES.values() for _, call in figures(page))
    assert [name for name, times in names.items() if times > 1] == []


def test_figures_that_the_text_names_exist():
    pages = [*PAGES.values(), TEMPLATE]
    names = {f"fig-{text(call, 'name')}" for page in pages for _, call in figures(page)}
    cited = {
        name
        for page in pages
        for cell in page.notebook.cells
        if cell.cell_type == "markdown"
        for name in re.findall(r"\{numref\}`(?:[^`<]*<)?(fig-[a-z0-9-]+)>?`", cell.source)
    }
    assert cited <= names


# Claims


def test_every_claim_is_judged_once():
    times = Counter(claim for page in PAGES.values() for claim in judged(page))
    assert [claim for claim, count in times.items() if count > 1] == []


@every_page
def test_claims_are_in_the_ledger(page):
    ledger = load_ledger()
    found = judged(page)
    assert found and found == page.claims, "ids are literals, so that the command line can list them"
    for claim in found:
        assert claim in ledger
        assert ledger[claim].paper == page.paper
        assert ledger[claim].rule, f"{claim} has no rule"


@every_page
def test_notes_stand_where_a_rule_asks_for_one(page):
    for cell in code(page):
        for call in calls(cell, "judge"):
            rule = load_ledger()[ast.literal_eval(call.args[0])].rule
            if any(part.kind == "note" for part in rule):
                assert len(text(call, "note") or "") > 80, cell.source


# The guide


def test_the_guide_names_what_there_is():
    from sgdscope import figures as house

    guide = (paths.repository() / "docs" / "page_anatomy.md").read_text(encoding="utf-8")
    table = guide[guide.index("## What figures have in common") : guide.index("## The style sheet")]
    named = set(re.findall(r"`([a-z_]+)\(", table)) | set(re.findall(r"`([A-Z_]{4,})`", table))
    assert {"rate_colours", "batch_colours", "reference", "mark_break_even", "SERIES"} <= named <= set(house.__all__)
    for heading in re.findall(r"^\| \*\*(.+?)\*\*", guide, flags=re.MULTILINE):
        assert f"## {heading}\n" in "\n".join(f"{cell.source}\n" for cell in TEMPLATE.notebook.cells), heading
    for link in re.findall(r"\]\(([^)]+)\)", guide):
        assert (paths.repository() / "docs" / link).is_file(), link


@pytest.mark.notebooks
def test_the_template_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))
    executed = nbformat.read(execute(TEMPLATE, "smoke", TEMPLATE.values("smoke"), tmp_path / "template.ipynb"), as_version=4)
    shown = "".join(str(output.get("data", {})) for cell in code_cells(executed) for output in cell.outputs)
    assert "sgd-figure" in shown and "sgd-claim" in shown and "sgd-provenance" in shown
