"""Runs of gradient_variance/04_cifar: the gradients of all examples at the log points of a trajectory, and where GC's variance fluctuates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pandas as pd
from torch import Tensor, float64, zeros

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.estimators import GradientClustering
from sgdscope.experiments.gradient_variance.fluctuations import places
from sgdscope.experiments.gradient_variance.trajectory_runs import (
    Trajectory,
    augmentation,
    draws,
    estimator,
    images,
    problem,
    rates,
    stored_size,
)
from sgdscope.gradients import PerExampleGradients
from sgdscope.probes import Either, From, Probe, Recorder, record
from sgdscope.runs import Result, checkpoint, run
from sgdscope.stability import without_replacement_factor
from sgdscope.training import Snapshot, measuring, train


@dataclass(frozen=True)
class States(Trajectory):
    """A trajectory along which the gradients of all examples are looked at, instead of estimators."""

    top: float = 0.01  # share of the examples with the longest gradients


class ClusterStates(Probe):
    """Lengths of all gradients, and their distances from the centres of their clusters, in eval mode and without augmentation.

    Measures, for N examples in clusters of sizes N_k:
        gc_exact: ``N^-2 sum_k N_k sum_{i in k} |g_i - C_k|^2 / d``, GC's average variance (Prop. 3.1), without sampling.
        sgd_exact: ``(N - B) / (B (N - 1)) (1/N) sum_i |g_i - g|^2 / d``, that of a mini-batch without replacement.
    Arrays, of N numbers each:
        squares: ``|g_i|^2``.
        within: ``N_k |g_i - C_k|^2 / N^2 / d``, which sum to ``gc_exact``.

    Args:
        clustering: refreshed where ``refresh`` says; its state goes into the recorder's.
        refresh: the steps of the refreshes. Nothing is measured before the first.
        batch_size: B.
        seed: of the refreshes; at one step they are those of `EstimatorVariance` with this seed.
        memory: bytes for the factors of the gradients of one cluster; where they do not fit they are computed three times.
    """

    def __init__(self, clustering: GradientClustering, *, refresh: From, batch_size: int, seed: int, memory: int) -> None:
        self.clustering, self.refresh, self.batch_size, self.seed, self.memory = clustering, refresh, batch_size, seed, memory
        self._refreshed: int | None = None

    def measure(self, snapshot: Snapshot) -> dict[str, float | Tensor]:
        """The numbers at one snapshot, right after its refresh if there is one."""
        due = self.refresh(snapshot.step)
        if self._refreshed is None and not due:
            return {}
        with measuring(snapshot.model):
            if due:
                generator = stream_generator(self.seed, "estimator variance", "gc", "refresh", str(snapshot.step))
                self.clustering.refresh(snapshot.model, snapshot.loss, snapshot.x, snapshot.y, generator=generator)
                self._refreshed = snapshot.step
            squares, within, mean = self._distances(snapshot)
        count, d = len(squares), len(mean)
        spread = float(squares.mean() - mean.square().sum())
        return {
            "gc_exact": float(within.sum()) / d,
            "sgd_exact": spread * without_replacement_factor(count, self.batch_size) / d,
            "age": snapshot.step - self._refreshed,
            "squares": squares.float(),
            "within": (within / d).float(),
        }

    def _distances(self, snapshot: Snapshot) -> tuple[Tensor, Tensor, Tensor]:
        """Squared lengths (N,), ``N_k |g_i - C_k|^2 / N^2`` (N,) and the mean gradient (d,); on the CPU, cluster by cluster."""
        partition = self.clustering.partition.cpu()
        squares, within = zeros(2, len(partition), dtype=float64)
        mean = 0.0
        for cluster in partition.unique():
            members = (partition == cluster).nonzero().squeeze(1)
            x, y = (values[members.to(values.device)] for values in (snapshot.x, snapshot.y))
            gradients = PerExampleGradients.of(snapshot.model, snapshot.loss, x, y, memory=self.memory, form="factored")
            centre, own = gradients.mean(), gradients.squared_norms().double().cpu()
            products = (gradients @ centre).double().cpu()
            centre, share = centre.double().cpu(), len(members) / len(partition)
            squares[members] = own
            within[members] = share / len(partition) * (own - 2 * products + centre.square().sum()).clamp(min=0)
            mean += share * centre
        return squares, within, mean

    def state(self) -> dict[str, object]:
        """The clusters, and when they were made."""
        return {"refreshed": self._refreshed, "clustering": self.clustering.state()}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`."""
        self._refreshed = state["refreshed"]
        self.clustering.restore(state["clustering"])


@run(version=1)
def states(config: States) -> Result:
    """Where GC's exact variance fluctuates most along a trajectory, and what the gradients are like there and elsewhere.

    One row a log point: step, ``gc_exact``, ``sgd_exact``, age, and what `places` finds: ``place`` (inside, outside or empty), ``top_norms``,
    ``top_variance``, ``top_changed``, ``overlap``, ``overlap_outside``; ``changed``, the share of labels that the corruption changed. The
    trajectory is that of the `Trajectory` with the same fields.

    Raises:
        InvalidInput: duplicates, or what the parts refuse.
    """
    if config.duplicate_originals * config.duplicate_copies:
        raise InvalidInput("states are of data without duplicates; set duplicate_originals to 0.")
    model, loss, x, y = problem(config)
    mislabelled = (y != images(config.dataset, config.num_examples, stored_size(config))[1]).cpu()
    refresh = From(config.update_start, config.update_every)
    probe = ClusterStates(
        estimator("gc", config), refresh=refresh, batch_size=config.batch_size, seed=draws(config), memory=config.memory
    )  # fmt: skip
    recorder = Recorder([probe], when=Either(From(config.update_start, config.log_every), refresh))
    trained = train(
        model, loss, x, y, learning_rate=rates(config),
        batch_size=config.batch_size, num_steps=config.num_steps, momentum=config.momentum, weight_decay=config.weight_decay,
        seed=draws(config), augment=augmentation(config), checkpoint=checkpoint(config), checkpoint_every=500, carry={"recorder": recorder},
    )  # fmt: skip
    table = record(trained, recorder)
    status = table.status.iloc[-1]
    table = table[table.get("gc_exact", table.step * float("nan")).notna()].reset_index(drop=True)
    if len(table):
        arrays = recorder.arrays
        table = places(table[["step", "gc_exact", "sgd_exact", "age"]], arrays["squares"], arrays["within"], mislabelled, top=config.top)
    return Result(
        table.assign(changed=float(mislabelled.double().mean())),
        status="diverged" if status == "diverged" else "finished",
        diverged_at=int(recorder.table.step.iloc[-1]) if status == "diverged" else None,
    )


@dataclass(frozen=True)
class Redrawn:
    """Labels of which a share is drawn anew."""

    dataset: str
    share: float
    seed: int


@run(version=1)
def redraw(config: Redrawn) -> Result:
    """Column: changed, the share of all labels that differ afterwards. The labels are those of the `Trajectory` with this seed and share."""
    shown = Trajectory(config.seed, config.dataset, "linear", corrupt_share=config.share)
    differ = problem(shown)[3] != images(config.dataset, None)[1]
    return Result(pd.DataFrame({"changed": [float(differ.double().mean())]}))


def states_of(config: Trajectory, **changes: object) -> States:
    """The `States` of a trajectory, with other fields where they are given."""
    return States(**{field.name: getattr(config, field.name) for field in fields(Trajectory)} | changes)
