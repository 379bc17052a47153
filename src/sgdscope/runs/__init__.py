"""Runs: pure functions of frozen configurations, found again by their key."""

from sgdscope.runs.collect import MissingRun, collect, get
from sgdscope.runs.compute import groups
from sgdscope.runs.files import Damaged, Result, StoreError
from sgdscope.runs.run import Run, run, run_of
from sgdscope.runs.store import checkpoint

__all__ = ["Damaged", "MissingRun", "Result", "Run", "StoreError", "checkpoint", "collect", "get", "groups", "run", "run_of"]
