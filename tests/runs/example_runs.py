"""Small runs for the tests, and for the processes that the tests start. Each call leaves a line in ``$CALLS``."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sgdscope.runs import Result, collect, get, run


def note(text):
    """Count a call; appending a line is atomic."""
    if file := os.environ.get("CALLS"):
        with open(file, "a") as calls:
            calls.write(f"{text}\n")


def calls():
    file = Path(os.environ["CALLS"])
    return file.read_text().split() if file.exists() else []


@dataclass(frozen=True)
class Square:
    seed: int
    factor: float = 1.0


@run(version=1)
def square(config: Square) -> Result:
    note(f"square-{config.seed}")
    return Result(
        pd.DataFrame({"step": [0, 1], "value": [config.seed**2 * config.factor, np.nan]}), {"weights": np.arange(config.seed + 1)}
    )


@dataclass(frozen=True)
class Slow:
    seed: int


@run(version=1)
def slow(config: Slow) -> Result:
    note(f"slow-{config.seed}")
    time.sleep(0.5)
    return Result(pd.DataFrame({"value": [config.seed]}))


@dataclass(frozen=True)
class Timed:
    seed: int


@run(version=1, repeatable=False)
def timed(config: Timed) -> Result:
    note(f"timed-{config.seed}")
    return Result(pd.DataFrame({"seconds": [time.perf_counter()]}))


@dataclass(frozen=True)
class Outer:
    """Asks for all its squares."""

    seeds: tuple[int, ...]


@run(version=1)
def outer(config: Outer) -> Result:
    note("outer")
    squares = collect([Square(seed) for seed in config.seeds])
    first = get(Square(config.seeds[0]))
    return Result(pd.DataFrame({"total": [squares["value"].sum() + first.table["value"][0]]}))


@dataclass(frozen=True)
class Walk:
    seed: int
    num_steps: int = 3
    kind: str = "list"  # what the batched form gives: list, generator, short list, long generator, ends, interrupted, none


def walk_batch(configs):
    note("batch-" + "-".join(str(config.seed) for config in configs))
    results = [Result(pd.DataFrame({"position": np.cumsum(np.full(c.num_steps, c.seed))})) for c in configs]
    kind = configs[0].kind
    if kind == "none":
        return None
    return {"list": results, "short list": results[:-1]}.get(kind, _one_by_one(kind, results))


def _one_by_one(kind, results):
    for i, result in enumerate(results):
        if kind == "interrupted" and i == 2:
            raise KeyboardInterrupt
        if kind == "ends" and i == 2:
            return
        yield result
    if kind == "long generator":
        yield results[0]


@run(version=1, batch=walk_batch)
def walk(config: Walk) -> Result:
    note(f"single-{config.seed}")
    return Result(pd.DataFrame({"position": np.cumsum(np.full(config.num_steps, config.seed))}))


@dataclass(frozen=True)
class Descent:
    learning_rate: float


@run(version=1)
def descend(config: Descent) -> Result:
    if config.learning_rate == 99:
        raise ZeroDivisionError("in the run")
    if config.learning_rate == 77:
        raise KeyboardInterrupt
    if config.learning_rate > 2:
        return Result(pd.DataFrame({"step": [0], "loss": [np.inf]}), status="diverged", diverged_at=7)
    return Result(pd.DataFrame({"step": [0, 1], "loss": [1.0, 0.5]}))


@dataclass(frozen=True)
class Selfish:
    seed: int = 0


@run(version=1)
def selfish(config: Selfish) -> Result:
    return get(config)


@dataclass(frozen=True)
class Wrong:
    what: str


@run(version=1)
def wrong(config: Wrong) -> Result:
    if config.what == "no result":
        return pd.DataFrame()
    if config.what == "clash":
        return Result(pd.DataFrame({"what": [1]}))
    if config.what == "types":
        return Result(pd.DataFrame({"a": [1, "b", object()]}))
    return Result(pd.DataFrame({"a": [1]}), {"names": np.array(["text"])})
