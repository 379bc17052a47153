"""What all tests share: one thread, and a store of runs of their own."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("sgdscope", deadline=None)  # a busy machine is no failure
settings.load_profile("sgdscope")

TOY = Path(__file__).parent / "toy"  # a checkout with three small pages: one works, one raises, one kills its kernel

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy and torch are imported
for name in ("SGDSCOPE_SCALE", "SGDSCOPE_PAGE", "SGDSCOPE_PARAMETERS", "SGDSCOPE_COMPUTE"):
    os.environ.pop(name, None)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store; nothing collected so far."""
    from sgdscope.runs.collect import collected

    folder = tmp_path / "store"
    monkeypatch.setenv("SGDSCOPE_STORE", str(folder))
    collected.clear()
    yield folder
    collected.clear()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout in place of this one: an empty ledger, no pages, no results."""
    folder = tmp_path / "checkout"
    (folder / "book").mkdir(parents=True)
    (folder / "book" / "claims.yaml").write_text("{}")
    (folder / "_config.yml").write_text("")
    monkeypatch.setattr("sgdscope.paths.repository", lambda: folder)
    return folder


@pytest.fixture
def pages(checkout, monkeypatch):
    """A checkout with the toy pages. The working directory lies in it, so that kernels and child processes find it too."""
    from sgdscope.claims import load_ledger

    shutil.copytree(TOY, checkout, dirs_exist_ok=True)
    monkeypatch.setattr("sgdscope.experiments.__path__", [str(checkout / "experiments")])
    monkeypatch.chdir(checkout)
    load_ledger.cache_clear()
    yield checkout
    load_ledger.cache_clear()
    for name in [name for name in sys.modules if name.startswith("sgdscope.experiments.toy")]:
        del sys.modules[name]
