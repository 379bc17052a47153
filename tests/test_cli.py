"""The command line: what it says, what it refuses, and how soon."""

import json
import os
import subprocess
import sys
import time

import nbformat
import pytest

from sgdscope.claims import Evidence, Measurement, judge
from sgdscope.cli import main
from sgdscope.pages import find
from sgdscope.runs.plan import Planned


@pytest.fixture
def say(pages, store, capsys):
    """Run a command; gives exit status, standard output and standard error."""

    def run(line):
        status = main(line.split() if isinstance(line, str) else line)
        return (status, *capsys.readouterr())

    return run


def test_list(say):
    status, out, _ = say("list")
    first, second, *_ = out.splitlines()
    assert status == 0 and first.split() == ["toy/01_works", "A", "toy", "page", "(2", "claims)"]
    assert first.index("A toy page") == len("toy/02_raises") + 2 == second.rindex("  ") + 2, "one column, however long the names are"


def test_show(say):
    status, out, _ = say("show toy/01_works")
    assert status == 0
    assert "  learning_rates  a list of numbers, default [0.1, 0.5]: in units of the sharpness" in out
    assert "be-exact (Eq. 1)\n      Exact.\n      rule, identity (at most 0.5): the largest error" in out


def test_plan_compute_plan(say):
    for line, expected in {
        "plan toy/01_works": ["toy.works.descend 0/4 unknown unknown no run like them yet", "toy.works.single 0/2"],
        "compute toy/01_works": ["toy/01_works: 6 of 6 runs are in the store (shard 1/1)."],
        "plan toy/01_works --scale quick": ["toy.works.descend 4/4 – – nothing to do"],
        "plan toy/01_works -p seeds [0,1,2]": ["toy.works.descend 4/6 0.0 s", "MiB runs at other seeds"],
        "plan toy/01_works -p learning_rates [0.2]": ["toy.works.descend 0/2 0.0 s", "rough: other settings"],
        "plan toy/01_works --scale smoke": ["toy.works.descend 0/2 unknown unknown no run like them yet", "all 2/4 unknown"],
    }.items():
        status, out, _ = say(line)
        assert status == 0
        for text in expected:
            assert text in " ".join(out.split()), line


def test_a_plan_with_a_part_that_nobody_knows(say, monkeypatch):
    rows = [Planned("a", 3, 1, 12.5, 100.0, "runs at other seeds"), Planned("b", 2, 0, None, None, "no run like them yet")]
    monkeypatch.setattr("sgdscope.runs.plan.plan", lambda configs: rows)
    assert say("plan toy/01_works")[1].splitlines()[-1].split() == ["all", "1/5", "at", "least", "12.5", "s"]


def test_shards_are_a_partition_that_keeps_batches_together(say, monkeypatch):
    asked = []
    monkeypatch.setattr("sgdscope.runs.collect", lambda configs: asked[-1].extend(configs))
    for shard in ("1/3", "2/3", "3/3"):
        asked.append([])
        assert say(f"compute toy/01_works --shard {shard}")[0] == 0
    parts = [{repr(config) for config in part} for part in asked]
    from sgdscope.pages import find

    page = find("toy/01_works")
    everything = [repr(config) for config in page.experiment().configurations(**page.values("quick"))]
    assert sorted(config for part in parts for config in part) == sorted(everything)
    for rate in ("0.1", "0.5"):  # the seeds of one rate are one batch
        assert sum(any(f"learning_rate={rate}" in config for config in part) for part in parts) == 1


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "²/3"])
def test_shards_that_are_none(say, shard):
    status, _, err = say(["compute", "toy/01_works", f"--shard={shard}"])
    assert status == 2 and f"a shard is i/n with 1 <= i <= n, such as 2/8; got {shard!r}" in err


def test_more_shards_than_work(say):
    assert "0 of 6 runs" in say("compute toy/01_works --shard 9/9")[1]


def test_execute(pages, store, monkeypatch, say):
    calls = []
    monkeypatch.setattr(
        "sgdscope.pages.execute.execute", lambda page, scale, values, output, label: calls.append((scale, values, output, label))
    )
    assert say("execute toy/01_works")[0] == 0
    assert say("execute toy/01_works -p num_steps 7 -p seeds [4] --scale smoke")[0] == 0
    assert say("execute toy/01_works -o there.ipynb")[0] == 0
    (quick, *_), (custom, *_) = calls[0], calls[1]
    assert (quick, custom) == ("quick", "smoke")
    assert calls[0][2:] == (pages / "build" / "quick" / "notebooks" / "toy" / "01_works.ipynb", None)
    assert calls[1][2:] == (pages / "build" / "custom" / "notebooks" / "toy" / "01_works.ipynb", "custom")
    assert calls[1][1] == {"dataset": "digits", "learning_rates": [0.1], "num_steps": 7, "seeds": [4], "center": True}
    assert str(calls[2][2]) == "there.ipynb"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("show toy/01_work", "unknown page 'toy/01_work'. Did you mean 'toy/01_works'? Valid: toy/01_works, toy/02_raises, toy/03_dies."),
        ("show toy/2", "unknown page 'toy/2'. Did you mean 'toy/02_raises'? Valid:"),
        (
            "execute toy/01_works -o /dev/null/x.ipynb",
            "the notebook cannot be written to /dev/null/x.ipynb (File exists); give another file.",
        ),
        ("execute toy/01_works -o /dev", "the notebook cannot be written to /dev (Is a directory); give another file."),
        ("execute toy/01_works --scale tiny", "unknown scale 'tiny'. Valid: smoke, quick, paper."),
        ("execute toy/01_works --scale paper", "unknown parameter set '01_works.paper.yaml'"),
        ("plan toy/01_works -p rate 1", "unknown parameter 'rate'"),
        ("results add", "results add needs a page, such as"),
        ("results verdicts", "README.md"),
    ],
)
def test_errors_are_one_message(say, pages, line, message):
    (pages / "README.md").write_text("no block")
    status, _, err = say(line)
    assert status == 2 and err.startswith("sgdscope: ") and message in err and "Traceback" not in err


@pytest.mark.parametrize("line", ["", "explode", "execute", "execute toy/01_works -p seeds", "results burn"])
def test_lines_that_are_no_command(say, line):
    with pytest.raises(SystemExit) as stopped:
        say(line)
    assert stopped.value.code == 2


def test_an_interrupt(say, monkeypatch):
    def interrupted(page):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgdscope.pages.find", interrupted)
    status, _, err = say("show toy/01_works")
    assert status == 130 and "finished runs are stored, the same call goes on from there" in err


@pytest.fixture
def judged(pages, say):
    verdict = judge("be-exact", Evidence({"error": Measurement(0.25)}))
    output = nbformat.v4.new_output("display_data", data=verdict._repr_mimebundle_())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("judge()", outputs=[output])])
    for scale in ("quick", "paper"):
        file = pages / "build" / scale / "notebooks" / "toy" / "01_works.ipynb"
        file.parent.mkdir(parents=True)
        nbformat.write(notebook, file)
    (pages / "README.md").write_text("<!-- scorecard: written by sgdscope results verdicts -->\n<!-- /scorecard -->\n")


def test_the_scorecard(say, judged):
    status, out, _ = say("scorecard --scale quick")
    assert status == 0 and "| Break-even point | 2 | 1 | 0 | 0 | 0 | 1 |" in out
    assert out.splitlines()[-1].split() == ["be-exact", "reproduced", "toy/01_works"]
    assert "| Break-even point | 2 | 0 | 0 | 0 | 0 | 2 |" in say("scorecard")[1]  # nothing committed


def test_verdicts_are_recorded(say, judged, pages):
    assert say("results verdicts")[0] == 0
    assert json.loads((pages / "results" / "verdicts.json").read_text())["be-exact"]["page"] == "toy/01_works"
    assert "| Break-even point | 2 | 1 | 0 | 0 | 0 | 1 |" in (pages / "README.md").read_text()
    assert "be-exact" in say("scorecard")[1]


def test_results(say, pages, monkeypatch):
    monkeypatch.setattr("sgdscope.runs.compute.present_commit", lambda: "0123456789ab")
    assert "is not in the local store: compute it first" in say("results add toy/01_works --scale smoke")[2]
    say("compute toy/01_works --scale smoke")
    status, out, _ = say("results add toy/01_works --scale smoke")
    assert status == 0 and len(out.splitlines()) == 4 and out.startswith("results/toy.works.descend/")
    status, out, _ = say("results list")
    assert status == 0 and len(out.splitlines()) == 4 and "0123456789ab" in out


def test_results_of_older_source_are_checked_again(say, pages, monkeypatch):
    for module in ("compute", "recheck"):
        monkeypatch.setattr(f"sgdscope.runs.{module}.present_commit", lambda: "0123456789ab")
    say("compute toy/01_works --scale smoke")
    say("results add toy/01_works --scale smoke")
    assert "No committed run is of an older source" in say("results recheck toy/01_works --scale smoke")[1]
    monkeypatch.setattr("sgdscope.runs.source.fingerprint", lambda module: "of an edited library")
    status, out, _ = say("results recheck toy/01_works --scale smoke")
    assert status == 0 and out.count("2 runs, of this function and source 2 were computed again: all agree") == 2
    assert len(json.loads((pages / "results" / "rechecks.json").read_text())) == 2
    monkeypatch.setattr("sgdscope.pages.all_pages", lambda: [find("toy/01_works")])  # the others cannot be imported
    assert say("results recheck --scale smoke")[1] == out


def test_data(say):
    status, out, _ = say("data")
    assert status == 0 and "digits" in out and "cifar10" in out


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("learning_rate", "0.1", "unknown parameter 'learning_rate'. Did you mean 'learning_rates'?"),
        ("learning_rates", "0.1", "learning_rates must be a list of numbers, like [0.1, 0.5]; got 0.1 (a number)"),
        ("num_steps", "many", "num_steps must be an integer, like 3; got 'many' (a text)"),
    ],
)
def test_wrong_parameters_are_refused_at_once(pages, store, parameter, value, message):
    """In under 3 s of CPU time, before anything heavy is imported; and the parameters are listed."""
    code = f"""
import sys, time
from sgdscope.cli import main
from sgdscope.pages import find
status = main(["execute", "toy/01_works", "-p", {parameter!r}, {value!r}])
heavy = {{"torch", "papermill", "pandas", "sklearn", "matplotlib", "datasets"}} & set(sys.modules)
print(status, sorted(heavy), time.process_time() < 3)
"""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.split("\n")[0] == "2 [] True"
    assert done.stderr.startswith(f"sgdscope: {message}")
    assert "toy/01_works takes:\n  dataset         a text, default 'digits': which images\n" in done.stderr
    assert time.perf_counter() - start < 30
    assert not (pages / "build").exists()


def test_the_installed_command():
    command = os.path.join(os.path.dirname(sys.executable), "sgdscope")
    if not os.path.exists(command):
        pytest.skip("the package is not installed in this environment")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sgdscope 0.")
