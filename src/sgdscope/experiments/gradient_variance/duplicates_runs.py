"""Runs of gradient_variance/06_duplicates: what is in the clusters of a training set with exact copies, and what the copies leave of the variance."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd
import torch
from torch import Tensor

from sgdscope.data import append_copies
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.estimators import GradientClustering, partition_objective, weighted_lloyd
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory, draws, estimator, problem, rates
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import Result, run
from sgdscope.stability import without_replacement_factor
from sgdscope.training import Snapshot, measuring, train


@dataclass(frozen=True)
class Clustered(Trajectory):
    """A trajectory along which the clusters are looked into, instead of estimators."""

    inspected: tuple[int, ...] = ()  # steps, ascending; the clusters begin with those of the step before


def split(gram: Tensor, rows: Tensor, partition: Tensor) -> dict[str, float]:
    """Which clusters hold copies, and their part in the variance of the stratified estimate.

    A cluster is *pure* if it holds one copied example and nothing else, *mixed* if it holds a copied example and anything else.

    Args:
        gram: (n, n) inner products of the gradients of the distinct examples.
        rows: (N,) which of them each example is a copy of.
        partition: (N,) cluster of each example.

    Returns:
        ``clusters`` that hold anything, ``pure`` and ``mixed`` ones of them; ``apart``, the share of the copied examples (all occurrences) in
        pure clusters; ``together``, the share in the cluster that holds most of their kind; and ``total`` and ``of_mixed``, traces of the
        covariance: ``N^-2 sum_k N_k sum_{i in k} |g_i - C_k|^2`` (Eq. 2) over all and over the mixed clusters. These scale with the square of
        the loss.
    """
    number = int(partition.max()) + 1
    counts = torch.zeros(number, len(gram), dtype=torch.float64, device=gram.device)
    counts.index_put_((partition.to(gram.device), rows.to(gram.device)), torch.ones((), dtype=torch.float64), accumulate=True)
    gram, sizes = gram.double(), counts.sum(1)
    terms = (sizes * (counts @ gram.diagonal()) - ((counts @ gram) * counts).sum(1)).clamp(min=0) / len(rows) ** 2
    of_copied = counts[:, counts.sum(0) > 1]
    copied = of_copied.sum(1)
    alone = (counts > 0).sum(1) == 1
    pure, mixed = (copied > 0) & alone, (copied > 0) & ~alone
    return {
        "clusters": int((sizes > 0).sum()),
        "pure": int(pure.sum()),
        "mixed": int(mixed.sum()),
        "apart": float(copied[pure].sum() / copied.sum()),
        "together": float(of_copied.max(0).values.sum() / copied.sum()),
        "total": float(terms.sum()),
        "of_mixed": float(terms[mixed].sum()),
    }


@run(version=1)
def clusters(config: Clustered) -> Result:
    """Two rows an inspected step, with the copies at the end of the data (``order`` appended) and everywhere (shuffled).

    Running counts take the examples in their order, so that it can matter. Columns: ``step``, ``order``; ``clusters``,
    ``pure``, ``mixed``, ``apart``, ``together``, those of `split`; exact average variances ``sgd_exact`` (a mini-batch of B without replacement),
    ``gc_exact``, ``gc_mixed`` (the part of mixed clusters), and ``ideal_exact``: each copied example in a cluster of its own, the
    other examples in the K clusters less these, by as many steps with exact centres. ``distinct`` examples, ``training_size`` N. The
    trajectory is that of the `Trajectory` with the same fields; appended and inspected at its updates, so are the clusters.

    Raises:
        InvalidInput: no copies, an augmentation, with which copies are not exact, steps that do not ascend up to num_steps, no more clusters than
            copied examples; what the parts refuse.
    """
    _check(config)
    model, loss, x, y = problem(config)
    generator = stream_generator(config.seed, "duplicates")
    distinct = len(x) - config.duplicate_originals * config.duplicate_copies
    rows = append_copies(distinct, originals=config.duplicate_originals, copies=config.duplicate_copies, generator=generator)
    shuffled = torch.randperm(len(x), generator=stream_generator(config.seed, "order of copies"))
    points = {
        "appended": (estimator("gc", config), x, y, rows),
        "shuffled": (estimator("gc", config), x[shuffled.to(x.device)], y[shuffled.to(y.device)], rows[shuffled]),
    }
    found, diverged = [], None
    for snapshot in train(
        model, loss, x, y, learning_rate=rates(config), batch_size=config.batch_size, num_steps=max(config.inspected),
        momentum=config.momentum, weight_decay=config.weight_decay, seed=draws(config),
    ):  # fmt: skip
        if snapshot.status == "diverged":
            diverged = snapshot.step
            break
        if snapshot.step in config.inspected:
            with measuring(snapshot.model):
                found += _rows(config, snapshot, points, distinct)
    columns = ["step", "order", "clusters", "pure", "mixed", "apart", "together", "sgd_exact", "gc_exact", "gc_mixed", "ideal_exact"]
    table = pd.DataFrame(found, columns=columns).astype({"order": "str"}).assign(distinct=distinct, training_size=len(x))
    return Result(table, status="finished" if diverged is None else "diverged", diverged_at=diverged)


def _check(config: Clustered) -> None:
    steps = list(config.inspected)
    if not config.duplicate_originals * config.duplicate_copies or config.augment != "none":
        raise InvalidInput(
            f"clusters are looked into with exact copies: duplicates and augment='none'; {config.duplicate_originals} x "
            f"{config.duplicate_copies} and {config.augment!r} came."
        )
    if not steps or steps != sorted(set(steps)) or not 0 <= steps[0] <= steps[-1] <= config.num_steps:
        raise InvalidInput(f"inspected must be steps that ascend up to num_steps, {config.num_steps}; {steps} came.")
    if config.duplicate_originals >= config.batch_size:
        raise InvalidInput(
            f"there must be more clusters than copied examples, or nothing is left for the others; {config.batch_size} came for "
            f"{config.duplicate_originals}."
        )


def _rows(
    config: Clustered, snapshot: Snapshot, points: dict[str, tuple[GradientClustering, Tensor, Tensor, Tensor]], distinct: int
) -> list[dict[str, float | str]]:
    """The two rows of one step."""
    model, loss, x, y = snapshot.model, snapshot.loss, snapshot.x, snapshot.y
    gradients = PerExampleGradients.of(model, loss, x[:distinct], y[:distinct], memory=config.memory)
    gram, d = gradients.gram().double(), gradients.shape[1]
    counts = torch.bincount(points["appended"][3], minlength=distinct).double().to(gram.device)
    number, batch = len(x), config.batch_size
    mean = counts / number
    spread = float(mean @ gram.diagonal() - mean @ gram @ mean)
    other = counts == 1
    ideal = weighted_lloyd(
        gram[other][:, other], batch - config.duplicate_originals, steps=config.gc_steps, sizes=config.gc_sizes,
        pass_batch=config.gc_pass_batch, generator=stream_generator(draws(config), "ideal clusters", str(snapshot.step)),
    ).assignment  # fmt: skip
    shared = {
        "step": snapshot.step,
        "sgd_exact": spread * without_replacement_factor(number, batch) / d,
        "ideal_exact": partition_objective(gram[other][:, other], ideal) / number**2 / d,
    }
    found = []
    for order, (clustering, xs, ys, rows) in points.items():
        clustering.refresh(
            model, loss, xs, ys, generator=stream_generator(draws(config), "estimator variance", "gc", "refresh", str(snapshot.step))
        )
        parts = split(gram, rows, clustering.partition)
        exact = {"gc_exact": parts.pop("total") / d, "gc_mixed": parts.pop("of_mixed") / d}
        found.append(shared | {"order": order} | parts | exact)
    return found


def clustered_of(config: Trajectory, inspected: tuple[int, ...]) -> Clustered:
    """The `Clustered` of a trajectory."""
    return Clustered(**{field.name: getattr(config, field.name) for field in fields(Trajectory)}, inspected=inspected)
