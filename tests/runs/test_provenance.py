"""Where a run comes from, and the card that says it on the page."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from example_runs import Descent, Square, Walk, descend, square, walk

from sgdscope.runs import checkpoint, collect, get, provenance
from sgdscope.runs import store as stores
from sgdscope.runs.card import provenance_card
from sgdscope.runs.collect import Sources
from sgdscope.runs.provenance import commit_of, present_commit, versions


@pytest.fixture
def git(tmp_path):
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)

    def run(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet")
    (folder / "src" / "a.py").write_text("1\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "first")
    commit_of.cache_clear()
    yield folder, run
    commit_of.cache_clear()


def test_commits(git, tmp_path):
    folder, run = git
    head = run("rev-parse", "HEAD")[:12]
    assert commit_of(folder) == head
    commit_of.cache_clear()
    (folder / "notes.txt").write_text("an untracked file that no run can depend on")
    assert commit_of(folder) == head
    commit_of.cache_clear()
    (folder / "src" / "new.py").write_text("an untracked file that runs may depend on")
    assert commit_of(folder) == f"{head}+"
    commit_of.cache_clear()
    (folder / "src" / "new.py").unlink()
    (folder / "src" / "a.py").write_text("2\n")
    assert commit_of(folder) == f"{head}+"
    assert commit_of(tmp_path) == ""


def test_the_present_commit_outside_a_checkout(monkeypatch):
    from sgdscope.errors import NotFound

    def nowhere():
        raise NotFound("no checkout")

    monkeypatch.setattr("sgdscope.paths.repository", nowhere)
    assert present_commit() == ""


def test_no_git_on_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    commit_of.cache_clear()
    assert commit_of(tmp_path) == ""
    commit_of.cache_clear()


def test_a_run_says_where_it_comes_from(store, calls):
    get(Square(2))
    said = stores.load(square, Square(2)).provenance
    assert said.fingerprint == square.fingerprint()
    assert said.commit == present_commit()
    assert said.created.endswith("+00:00") and said.batch == 1 and said.device == "cpu"
    assert 0 < said.seconds < 5 and 0 <= said.cpu_seconds < 5
    assert {"python", "sgdscope", "torch", "numpy"} <= set(said.versions) and said.versions["numpy"] == np.__version__
    assert os.uname().nodename not in said.machine and "cores" in said.machine


def test_the_commit_is_that_of_the_start(store, calls, monkeypatch):
    """A checkout that is edited while a run computes is not where the run comes from."""
    commits = iter(["before", "after"])
    monkeypatch.setattr("sgdscope.runs.compute.present_commit", lambda: now[0])
    now = [next(commits)]
    monkeypatch.setattr("example_runs.note", lambda text: now.__setitem__(0, next(commits)))
    get(Square(2))
    assert stores.load(square, Square(2)).provenance.commit == "before"


MEMORY = """
import numpy as np
from sgdscope.runs.provenance import measured

with measured() as small:
    pass
with measured() as large:
    block = np.ones(2**23)  # 64 MiB
    block += 1
del block
with measured() as after:
    pass
assert 50 < large.peak_mib - small.peak_mib < 100, (small.peak_mib, large.peak_mib)
assert after.peak_mib < large.peak_mib - 50  # a peak belongs to the run that had it
assert large.seconds > small.seconds >= 0 and large.cpu_seconds > 0
"""


def test_measured_time_and_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False
    )  # alone: other tests leave memory behind
    assert done.returncode == 0, done.stderr


@pytest.fixture
def executed(monkeypatch):
    monkeypatch.setenv("SGDSCOPE_PAGE", "break_even/01_model")
    monkeypatch.setenv("SGDSCOPE_SCALE", "quick")
    monkeypatch.setenv("SGDSCOPE_PARAMETERS", json.dumps({"learning_rates": [0.1, 0.5], "dataset": "<b>it's</b>"}))


def test_the_card(store, calls, executed, monkeypatch):
    collect([Square(1), Square(2)])
    get(Square(1))
    monkeypatch.setenv("SGDSCOPE_COMPUTE", "never")
    collect([Square(3)])
    facts = provenance_card().facts
    assert facts["page"] == "break_even/01_model" and facts["scale"] == "quick"
    assert facts["parameters"] == 'learning_rates = [0.1, 0.5], dataset = "<b>it\'s</b>"'
    assert facts["runs"] == "2 computed now; 1 from store; 1 missing"
    assert facts["device"] == "cpu"
    assert facts.get("source of the page", "") == present_commit() == facts.get("source of the runs", "")
    assert f"numpy {np.__version__}" in facts["versions"] and "torch" in facts["versions"]
    assert facts["again"] == "sgdscope execute break_even/01_model --scale quick"
    assert facts["at paper scale"] == "sgdscope execute break_even/01_model --scale paper"
    assert facts["with other values"] == "sgdscope execute break_even/01_model -p learning_rates '[0.1, 0.5]'"


def test_a_run_that_went_on_says_so(store, calls, executed):
    kept = checkpoint(Square(1))
    kept.parent.mkdir(parents=True)
    kept.write_text("what a killed process left")
    sources = collect([Square(1), Square(2)]).attrs["sources"]
    assert sources.resumed == 1
    found = [stores.load(square, config).provenance.resumed for config in (Square(1), Square(2))]
    assert found == [True, False]
    assert provenance_card().facts["run time"].endswith("one thread; 1 of the runs went on after an interruption and count from there")


def test_the_card_escapes(store, executed):
    html = provenance_card()._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;it&#x27;s&lt;/b&gt;" in html
    assert '<div class="sgd-provenance">' in html
    assert "scale: quick" in repr(provenance_card())


def test_the_card_of_a_notebook_run_by_hand(store):
    facts = provenance_card().facts
    assert facts["scale"] == "by hand" and facts["runs"] == "none"
    assert not {"page", "again", "with other values", "at paper scale", "parameters"} & set(facts)


def test_the_card_of_changed_parameters(store, executed, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_SCALE", "custom")
    facts = provenance_card().facts
    assert "again" not in facts and "with other values" in facts


def test_a_generators_results_have_their_own_times(store, calls):
    collect([Walk(i, kind="generator") for i in range(3)])
    said = [stores.load(walk, Walk(i, kind="generator")).provenance for i in range(3)]
    assert {about.batch for about in said} == {3} and all(about.seconds > 0 for about in said)


def test_diverged_runs_have_provenance_too(store):
    get(Descent(3.0))
    assert stores.load(descend, Descent(3.0)).provenance.versions == versions()


def test_device_is_the_one_whose_memory_the_block_held(monkeypatch):
    import torch

    held = {"bytes": 0}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: held.update(bytes=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held["bytes"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    with provenance.measured() as on_cpu:
        pass
    with provenance.measured() as on_gpu:
        held["bytes"] = 3 * 2**20
    assert (on_cpu.device, on_cpu.device_mib) == ("cpu", 0.0)
    assert (on_gpu.device, on_gpu.device_mib) == ("Some GPU", 3.0)


def test_the_card_counts_runs_of_older_source_whatever_rechecks_found(store, calls, monkeypatch):
    older = "results, of an older source"
    found = [Sources(origins=Counter({older: 2, "store": 1})), Sources(origins=Counter({f"{older} (of 3 such runs ...: all agree)": 3}))]
    monkeypatch.setattr("sgdscope.runs.card.collected", found)
    assert provenance_card().facts["runs"] == f"5 from {older}; 1 from store"
