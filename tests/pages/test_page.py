"""Pages found, read, and what they depend on."""

import pytest

from sgdscope import paths
from sgdscope.errors import InvalidInput, NotFound
from sgdscope.pages import Page, all_pages, find
from sgdscope.pages.sources import sources


def test_all_pages(pages):
    (pages / "notebooks" / "toy" / "helper.py").write_text("")
    assert [page.name for page in all_pages()] == ["toy/01_works", "toy/02_raises", "toy/03_dies"]


@pytest.mark.parametrize("name", ["toy/01_works", "notebooks/toy/01_works.py", "toy/01_works.py"])
def test_find(pages, name):
    page = find(name)
    assert (page.name, page.paper, page.title) == ("toy/01_works", "toy", "A toy page")


def test_an_unknown_page_lists_them(pages):
    with pytest.raises(NotFound, match=r"unknown page 'toy/01_work'. Did you mean 'toy/01_works'\? Valid: toy/01_works, toy/02_raises"):
        find("toy/01_work")


def test_claims_of_a_page(pages):
    assert find("toy/01_works").claims == ["be-exact", "be-about"]
    assert find("toy/02_raises").claims == []


def test_values_at_a_scale(pages):
    page = find("toy/01_works")
    quick = {"dataset": "digits", "learning_rates": [0.1, 0.5], "num_steps": 3, "seeds": [0, 1], "center": True}
    assert page.values("quick") == quick
    assert page.values("smoke") == quick | {"num_steps": 1, "learning_rates": [0.1]}
    assert page.values("smoke", {"num_steps": "7"})["num_steps"] == 7
    with pytest.raises(NotFound, match="unknown scale 'tiny'. Valid: smoke, quick, paper"):
        page.values("tiny")
    with pytest.raises(NotFound, match="unknown parameter set '01_works.paper.yaml'"):
        page.values("paper")


def test_pages_that_lack_something(pages):
    file = pages / "notebooks" / "toy" / "04_bare.py"
    file.write_text("# %%\nx = 1\n")
    with pytest.raises(InvalidInput, match="04_bare.py needs exactly one cell tagged 'parameters', it has 0"):
        _ = Page("toy/04_bare").parameters
    with pytest.raises(InvalidInput, match="04_bare.py has no heading"):
        _ = Page("toy/04_bare").title


def test_the_experiment_of_a_page(pages):
    page = find("toy/01_works")
    configs = page.experiment().configurations(**page.values("quick"))
    assert len(configs) == 6


def test_what_pages_depend_on():
    names = {file.relative_to(paths.repository() / "src" / "sgdscope").as_posix() for file in sources("break_even/01_model")}
    assert {"experiments/break_even/model.py", "stability/theory.py", "figures/style.py", "claims/judge.py", "pages/execute.py"} <= names
    assert not {"pages/stage.py", "pages/readme.py", "cli.py"} & names  # edits to these run no page again
    staging = {file.relative_to(paths.repository() / "src" / "sgdscope").as_posix() for file in sources()}
    assert {"pages/stage.py", "claims/scorecard.py", "stability/theory.py", "data/load.py"} <= staging  # the last two: docstrings shown
    assert not any(name.startswith(("experiments", "figures", "cli")) for name in staging)


# Where things are


def test_the_repository_is_found_upwards(pages, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(pages / "notebooks" / "toy")
    assert paths.repository() == pages
    monkeypatch.delenv("SGDSCOPE_STORE", raising=False)
    assert paths.store() == pages / ".runs"


def test_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sgdscope.paths.__file__", str(tmp_path / "site-packages" / "sgdscope" / "paths.py"))
    with pytest.raises(NotFound, match="no sgdscope checkout at or above .*Clone it and call from inside"):
        paths.repository()
    monkeypatch.delenv("SGDSCOPE_STORE", raising=False)
    assert paths.store() == tmp_path / ".runs"
    monkeypatch.setenv("SGDSCOPE_STORE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.store() == tmp_path / "elsewhere"
