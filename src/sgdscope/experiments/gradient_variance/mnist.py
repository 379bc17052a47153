"""The page gradient_variance/03_mnist: variance along training on an easy problem. Lists its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgdscope.errors import InvalidInput, whole
from sgdscope.experiments.gradient_variance.mnist_runs import SETS, FreshClusters, Noise
from sgdscope.experiments.gradient_variance.training_runs import Training
from sgdscope.experiments.gradient_variance.trajectory_checks import check_runs, check_trajectory
from sgdscope.experiments.gradient_variance.trajectory_runs import ESTIMATORS, Trajectory
from sgdscope.experiments.settings import check_distinct

RESCALED_TO = (5.8e-7, 1.2e-7, 1.5e-8)  # average variances of the claim about the guard
NEVER = 10**9  # steps to a refresh that no run reaches


def runs(
    *,
    dataset: str,
    hidden: Sequence[int],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    batch_size: int,
    num_steps: int,
    log_every: int,
    repeats: int,
    update_every: int,
    gc_steps: int,
    growth_every: int,
    protocol_steps: int,
    problems: Sequence[str],
    problem_steps: int,
    problem_every: int,
    problem_repeats: int,
    training: Sequence[str],
    seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """All runs of the page, by the name under which its cells collect them.

    Args:
        dataset: labelled images, of the main trajectories.
        hidden: widths of the MLP.
        learning_rate: of the main trajectories; momentum, weight_decay: likewise.
        batch_size: B, of everything; K of the clustering.
        num_steps: T.
        log_every: steps between measurements.
        repeats: R, estimates behind a variance.
        update_every: U, steps between refreshes of SVRG and GC.
        gc_steps: iterations of GC at a refresh.
        growth_every: steps between measurements of all examples' gradients.
        protocol_steps: steps of the runs in the authors' protocol.
        problems: settings compared, "dataset model rate share of corrupted labels" each.
        problem_steps: steps of each at most; problem_every: between its measurements; problem_repeats: R there.
        training: problems trained with each estimator, "dataset model rate steps examples seeds" each; 0 examples are all.
        seeds: of everything that is drawn.

    Raises:
        InvalidInput: values that come twice, sizes out of range, a text that does not read as above, fewer than two problems.
        NotFound: an unknown data set or model.
    """
    check_distinct("seeds", seeds)
    counts = {"num_steps": num_steps, "log_every": log_every, "update_every": update_every, "protocol_steps": protocol_steps}
    counts |= {"growth_every": growth_every, "problem_steps": problem_steps, "problem_every": problem_every}
    if bad := [name for name, value in counts.items() if value < 1]:
        raise InvalidInput(f"{bad[0]} must be at least 1, got {counts[bad[0]]}.")
    if protocol_steps > num_steps:
        raise InvalidInput(f"protocol_steps is at most num_steps, {num_steps}; {protocol_steps} came.")
    if len(set(problems)) < max(2, len(problems)):
        raise InvalidInput(f"problems must be two or more distinct ones, which are compared; got {list(problems)}.")
    shared = {"dataset": dataset, "hidden": tuple(hidden), "learning_rate": learning_rate, "momentum": momentum}
    shared |= {"weight_decay": weight_decay, "batch_size": batch_size}
    measured = {"log_every": log_every, "repeats": repeats, "update_every": update_every, "gc_steps": gc_steps}
    main = {**shared, **measured, "num_steps": num_steps, "growth_every": growth_every, "rescaled_to": RESCALED_TO}
    alone = {**shared, **measured, "num_steps": protocol_steps, "protocol": "authors", "two_pass": ()}
    short = {
        "hidden": tuple(hidden), "batch_size": batch_size, "num_steps": problem_steps, "log_every": problem_every, "repeats": problem_repeats,
        "estimators": ("sgd",), "update_start": 5, "update_every": NEVER, "loss_every": 5, "loss_examples": 500,
    }  # fmt: skip
    trainings = [trained(text) for text in training]
    found = {
        "main": [Trajectory(seed, **main) for seed in seeds],
        "authors": [Trajectory(seed, estimators=(name,), **alone) for name in ESTIMATORS for seed in seeds],
        "problems": [Trajectory(seed, **problem(text), **short) for text in problems for seed in seeds],
        "training": [
            Training(seed, name, hidden=tuple(hidden), batch_size=batch_size, **fields)
            for fields, count in trainings for name in ESTIMATORS for seed in seeds[:count]
        ],
        "noise": [
            Noise(seed, number, signal, scale)
            for number, signal, scale in ((10, 0.0, 1.0), (50, 0.0, 1.0), (50, 1.0, 1.0), (50, 1.0, 2.0**-10)) for seed in seeds
        ],
        "fresh": [FreshClusters(seed, name, sizes) for name in SETS for sizes in ("running", "previous") for seed in seeds],
    }  # fmt: skip
    check_runs(found)
    for fields, _ in trainings:
        check_trajectory(Trajectory(0, hidden=tuple(hidden), batch_size=batch_size, **fields))
    return found


def configurations(**parameters: Any) -> list[Any]:
    """All runs of the page in one list, for ``sgdscope plan`` and ``compute``."""
    return [config for group in runs(**parameters).values() for config in group]


def problem(text: str) -> dict[str, Any]:
    """Fields of a run from "dataset model rate share".

    >>> problem("digits mlp 0.1 0.3")
    {'dataset': 'digits', 'model': 'mlp', 'learning_rate': 0.1, 'corrupt_share': 0.3}
    """
    dataset, model, rate, share = _words(text, "problems", "dataset model rate share")
    return {"dataset": dataset, "model": model, "learning_rate": _number(rate, text), "corrupt_share": _number(share, text)}


def trained(text: str) -> tuple[dict[str, Any], int]:
    """Fields of a run, and for how many seeds, from "dataset model rate steps examples seeds"; ten losses along it, a refresh every quarter."""
    dataset, model, rate, steps, examples, seeds = _words(text, "training", "dataset model rate steps examples seeds")
    number, count, of_seeds = _count(steps, text, 1), _count(examples, text, 0), _count(seeds, text, 1)
    fields = {"dataset": dataset, "model": model, "learning_rate": _number(rate, text), "num_steps": number, "num_examples": count or None}
    fields |= {"log_every": max(number // 10, 1), "update_every": max(number // 4, 1), "loss_examples": count or None}
    return fields, of_seeds


def _words(text: str, name: str, form: str) -> list[str]:
    words = text.split()
    if len(words) != len(form.split()):
        raise InvalidInput(f"each of {name} must read {form!r}; {text!r} came.")
    return words


def _count(word: str, text: str, least: int) -> int:
    number = _number(word, text)
    return whole(f"{word!r} in {text!r}", int(number) if number.is_integer() else number, least)


def _number(word: str, text: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InvalidInput(f"{word!r} in {text!r} must be a number.") from None
