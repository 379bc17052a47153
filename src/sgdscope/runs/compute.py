"""Computing missing runs: each once, under its key's lock, alone or in batches, stored as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sgdscope.errors import InvalidInput
from sgdscope.runs import files, store
from sgdscope.runs.files import Result
from sgdscope.runs.provenance import Measured, describe, measured, present_commit
from sgdscope.runs.run import Run, run_of
from sgdscope.runs.store import Stored

LARGEST_GROUP = 256  # runs computed together at most: each holds an open lock file

_computing: set[str] = set()  # keys whose locks this process holds


def groups(configs: Sequence[Any]) -> list[list[int]]:
    """Indices of configurations that are computed together: those of one shape where the run has a batched form, else one each."""
    by_shape: dict[tuple[str, str], list[int]] = {}
    for i, config in enumerate(configs):
        run = run_of(config)
        by_shape.setdefault((run.name, run.shape(config) if run.batch else str(i)), []).append(i)
    return [members[i : i + LARGEST_GROUP] for members in by_shape.values() for i in range(0, len(members), LARGEST_GROUP)]


def compute(configs: Sequence[Any], tick: Callable[[], Any] = lambda: None) -> list[Stored]:
    """Compute and store the runs of one group; those that another process computes are waited for.

    Raises:
        InvalidInput: a run asks for itself, or does not give what it should.
        StoreError: the store cannot be written.
    """
    run = run_of(configs[0])
    wanted = {run.key(config): config for config in configs}
    if wanted.keys() & _computing:
        raise InvalidInput(f"{run.name} asks for a run that is being computed in the same call: for itself, or for one of its own batch.")
    done: dict[str, Stored] = {}
    with ExitStack() as held:
        mine = {}
        for key in sorted(wanted):
            if held.enter_context(store.lock(key, wait=False)):
                if stored := store.load(run, wanted[key]):  # finished by another process since it was missed
                    done[key] = stored
                else:
                    mine[key] = wanted[key]
        mine = {key: mine[key] for key in wanted if key in mine}  # in the order asked for
        for key, stored in _locked(run, mine):
            done[key] = stored
            tick()
    for key in [key for key in wanted if key not in done]:  # another process has these: wait, look, and compute what it failed to
        with store.lock(key):
            if stored := store.load(run, wanted[key]):
                done[key] = stored
            else:
                done |= _locked(run, {key: wanted[key]})
        tick()
    return [done[run.key(config)] for config in configs]


def compute_again(configs: Sequence[Any]) -> list[Result]:
    """Compute the runs of one group without storing them; each as it would be read from the store."""
    run = run_of(configs[0])
    together = run.batch is not None and len(configs) > 1
    with TemporaryDirectory() as folder:
        file = Path(folder) / "again.parquet"
        again = []
        for config, (result, _) in zip(configs, (_together if together else _alone)(run, list(configs)), strict=True):
            store.drop_checkpoints(config)
            files.write(file, result, {})
            again.append(files.read(file)[0])
    return again


def _locked(run: Run, configs: dict[str, Any]) -> Iterator[tuple[str, Stored]]:
    """Compute and store runs whose locks we hold; yields (key, stored) as they come."""
    fingerprint, commit = run.fingerprint(), present_commit()  # before the work: the checkout may be edited meanwhile
    together = run.batch is not None and len(configs) > 1
    results = (_together if together else _alone)(run, list(configs.values()))
    _computing.update(configs)
    try:
        for (key, config), (result, use) in zip(configs.items(), results, strict=True):
            if not isinstance(result, Result):
                raise InvalidInput(f"{run.name} must return a Result for each configuration, got {type(result).__name__}.")
            provenance = describe(use, fingerprint=fingerprint, commit=commit, batch=len(configs) if together else 1)
            yield key, store.save(run, config, result, provenance)
    finally:
        _computing.difference_update(configs)


def _alone(run: Run, configs: list[Any]) -> Iterator[tuple[Any, Measured]]:
    """Results one by one."""
    for config in configs:
        resumed = store.checkpoint(config).exists()
        with measured() as use:
            result = run.function(config)
        use.resumed = resumed
        yield result, use


def _together(run: Run, configs: list[Any]) -> Iterator[tuple[Any, Measured]]:
    """Results of the batched form: a sequence's time is shared evenly, a generator's goes to the result that it was spent on."""
    with measured() as use:
        made = run.batch(configs)
    if isinstance(made, Sequence):
        _check_number(run, len(made), len(configs))
        use.seconds, use.cpu_seconds = use.seconds / len(configs), use.cpu_seconds / len(configs)
        yield from ((result, use) for result in made)
        return
    if not isinstance(made, Iterable):
        raise InvalidInput(f"the batched form of {run.name} must give one Result for each configuration, got {type(made).__name__}.")
    results, number, end = iter(made), 0, object()
    while True:
        with measured() as use:
            result = next(results, end)
        if result is end:
            break
        number += 1
        if number > len(configs):
            break
        yield result, use
    _check_number(run, number, len(configs))


def _check_number(run: Run, got: int, expected: int) -> None:
    """Refuse a batch that does not answer to its configurations."""
    if got != expected:
        raise InvalidInput(
            f"the batched form of {run.name} gave {'more than ' if got > expected else ''}{min(got, expected)} results for {expected} "
            "configurations: it must give one Result each, in their order."
        )
