"""Example runs under one module name here and in child processes, and a way to start those."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What the example runs were called for, in order."""
    import example_runs

    monkeypatch.setenv("CALLS", str(tmp_path / "calls.txt"))
    return example_runs.calls


@pytest.fixture
def child(store, calls):
    """Start Python on some code, with the example runs and this test's store."""

    def start(code):
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        return subprocess.Popen(
            [sys.executable, "-c", "from example_runs import *\n" + code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
