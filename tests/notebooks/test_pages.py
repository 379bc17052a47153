"""Every page at smoke scale: executed, then run again by nbval. What a reader, a budget and continuous integration may rely on."""

import os
import re
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from sgdscope.claims import scorecard
from sgdscope.pages import Page, all_pages, find
from sgdscope.pages.execute import environment, execute
from sgdscope.runs import collect, run_of, store
from sgdscope.runs.collect import collected

pytestmark = pytest.mark.notebooks

SMOKE_SECONDS = 15  # CPU time of a page with its runs; a test fails beyond three times a budget
FLAG = "nbval-check-output"


@dataclass(frozen=True)
class Executed:
    page: Page
    values: dict
    configs: list
    run_seconds: float  # CPU time of all runs
    folder: Path
    output: Path
    notebook: nbformat.NotebookNode

    @property
    def store(self):
        return self.folder / "store"

    def cells(self, tag):
        return [cell for cell in self.notebook.cells if tag in cell.metadata.get("tags", [])]


@pytest.fixture(scope="module", params=[page.name for page in all_pages()])
def executed(request, tmp_path_factory):
    """A page executed once: its planned runs are computed first, into a store of their own; the page itself may only load."""
    page = find(request.param)
    values = page.values("smoke")
    configs = page.experiment().configurations(**values)
    folder = tmp_path_factory.mktemp("page")
    output = folder / "notebooks" / f"{page.name}.ipynb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGDSCOPE_STORE", str(folder / "store"))
        started = time.process_time()
        collect(configs)
        seconds = time.process_time() - started
        collected.clear()
        patch.setenv("SGDSCOPE_COMPUTE", "never")
        execute(page, "smoke", values, output)
    return Executed(page, values, configs, seconds, folder, output, nbformat.read(output, as_version=4))


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def card(notebook):
    """The facts of the provenance card."""
    return dict(line.split(": ", 1) for line in notebook.cells[-1].outputs[0].data["text/plain"].splitlines())


def runs_said(said):
    """Numbers of runs on a provenance card, by origin."""
    return {origin: int(count) for count, origin in re.findall(r"(\d+) (computed now|missing|from [a-z, ]+)", said)}


def test_every_cell_ran_and_nothing_was_printed(executed):
    notebook = executed.notebook
    nbformat.validate(notebook)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    kinds = {output.output_type for output in outputs(notebook)}
    assert kinds == {"execute_result"}, "no errors, no streams (stderr among them), nothing shown twice"
    assert notebook.metadata["sgdscope"]["page"] == executed.page.name and notebook.metadata["sgdscope"]["scale"] == "smoke"


def test_it_stays_in_its_budget(executed):
    page_seconds = executed.notebook.metadata["sgdscope"]["cpu_seconds"]
    assert page_seconds > 0 and page_seconds + executed.run_seconds < 3 * SMOKE_SECONDS, (page_seconds, executed.run_seconds)


def test_smoke_judges_nothing(executed):
    found = scorecard.verdicts_of(executed.notebook, executed.page.name)
    assert list(found) == executed.page.claims
    assert {(record["verdict"], record["reason"], record["scale"]) for record in found.values()} == {("not run", "smoke scale", "smoke")}


def test_every_part_of_every_rule_was_measured(executed):
    """Evidence that does not answer to its rule would have raised; nothing was missing, so each part has its number."""
    for record in scorecard.verdicts_of(executed.notebook, executed.page.name).values():
        assert record["parts"], record["id"]
        assert all(part["value"] is not None or part["kind"] in ("note", "direction", "value") for part in record["parts"]), record


def test_it_collects_what_it_plans(executed):
    """All planned runs and no others: none was missing although the page could not compute, and it loaded as many as were planned."""
    found = runs_said(card(executed.notebook)["runs"])
    assert not {"missing", "computed now"} & set(found)
    assert sum(found.values()) == len(executed.configs)
    assert not any("Not computed." in output.data.get("text/html", "") for output in outputs(executed.notebook))


def test_the_provenance_card(executed):
    facts = card(executed.notebook)
    assert (facts["page"], facts["scale"]) == (executed.page.name, "smoke")
    assert facts["parameters"] == ", ".join(f"{name} = {value!r}" for name, value in executed.values.items())
    assert facts["again"] == f"sgdscope execute {executed.page.name} --scale smoke"
    for name in ("run time", "device", "source of the runs", "source of the page", "versions", "at paper scale", "with other values"):
        assert facts[name].strip(), name
    assert "torch" in facts["versions"]


def test_figures_are_drawn_and_can_be_downloaded(executed):
    figures = [cell for cell in executed.notebook.cells if "figure" in cell.metadata.get("mystnb", {})]
    assert figures
    identifiers = []
    for cell in figures:
        (output,) = cell.outputs
        html = output.data["text/html"]
        assert html.count("<svg") == 1 and "data:text/csv;base64," in html and 'role="img" aria-label="' in html
        identifiers += re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers)), "inline drawings share one document"


# Run again by nbval


def nbval(folder, notebooks, settings):
    """Outcome of each code cell of some notebooks: {notebook: [passed, ...]}, from nbval in a process of its own."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    report = folder / "report.xml"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "no:cacheprovider", "-q", "-c", "pytest.ini", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *(notebook.relative_to(folder).as_posix() for notebook in notebooks)],
        cwd=folder,
        env=inherited | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = {notebook: [] for notebook in notebooks}
    for case in ElementTree.parse(report).iter("testcase"):
        (notebook,) = [notebook for notebook in notebooks if case.get("classname").endswith(notebook.name)]
        found[notebook].append(not any(child.tag in ("failure", "error", "skipped") for child in case))
    return found, done.stdout


def altered(cell):
    """The same cell with another output, as if the run before had given other numbers."""
    cell = new_code_cell(cell.source, metadata=cell.metadata, outputs=deepcopy(cell.outputs), execution_count=cell.execution_count)
    for output in cell.outputs:
        for kind in ("text/plain", "text/html"):
            if kind in output.get("data", {}):
                output.data[kind] = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), output.data[kind])
    return cell


def test_nbval_finds_the_same_numbers_again(executed):
    """All cells pass in a new kernel; and the flagged ones are compared: copies of them with one digit changed, at the end, fail."""
    flagged = executed.cells(FLAG)
    notebook = deepcopy(executed.notebook)
    notebook.cells += [altered(cell) for cell in flagged]
    again = executed.folder / "again" / f"{executed.output.stem}.ipynb"
    again.parent.mkdir()
    nbformat.write(notebook, again)
    settings = environment(executed.page, "smoke", executed.values)
    found, said = nbval(executed.folder, [again], settings | {"SGDSCOPE_STORE": str(executed.store), "SGDSCOPE_COMPUTE": "never"})
    count = sum(cell.cell_type == "code" for cell in executed.notebook.cells)
    assert flagged and all(cell.outputs and cell.execution_count for cell in flagged)
    assert found[again] == [True] * count + [False] * len(flagged), said


def test_nbval_bites(tmp_path):
    """A flagged cell with its output, with another one, and never run: nbval compares nothing then, so it must run on executed notebooks."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    files = []
    for name, said, count in (("right", "42", 1), ("altered", "43", 1), ("source", None, None)):
        result = [new_output("execute_result", data={"text/plain": said}, execution_count=count)] if said else []
        flagged = new_code_cell("6 * 7", metadata={"tags": [FLAG]}, outputs=result, execution_count=count)
        free = new_code_cell("7 * 7", outputs=result, execution_count=count)  # not flagged: never compared
        files.append(tmp_path / f"{name}.ipynb")
        nbformat.write(new_notebook(cells=[flagged, free], metadata=kernel), files[-1])
    found, log = nbval(tmp_path, files, {})
    assert list(found.values()) == [[True, True], [False, True], [True, True]], log


# Executed again with another parameter


@pytest.mark.parametrize("executed", ["break_even/01_model"], indirect=True)
def test_another_parameter_recomputes_only_the_runs_that_changed(executed, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(executed.store))
    monkeypatch.delenv("SGDSCOPE_COMPUTE", raising=False)
    values = executed.page.values("smoke", {"num_steps": "11"})
    wanted = executed.page.experiment().configurations(**values)
    new = [config for config in wanted if store.about(run_of(config), config) is None]
    assert {type(config).__name__ for config in new} == {"Descent"}
    before = {file: file.stat().st_mtime_ns for file in executed.store.rglob("*.parquet")}

    output = execute(executed.page, "smoke", values, executed.folder / "custom.ipynb", label="custom")

    after = {file: file.stat().st_mtime_ns for file in executed.store.rglob("*.parquet")}
    assert {file: after.get(file) for file in before} == before, "no run is written again"
    assert set(after) - set(before) == {store.local_file(run_of(config), run_of(config).key(config)) for config in new}
    facts = card(nbformat.read(output, as_version=4))
    assert runs_said(facts["runs"])["computed now"] == len(new) and sum(runs_said(facts["runs"]).values()) == len(wanted)
    assert facts["scale"] == "custom" and "num_steps = 11" in facts["parameters"]
