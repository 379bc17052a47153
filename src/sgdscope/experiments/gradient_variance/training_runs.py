"""Training *with* each estimator, which Faghri et al. (2020) leave out: the loss against steps, and against gradients computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sgdscope.data.synthetic import stream_generator
from sgdscope.estimators.sampled import Sampled
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory, estimator, problem
from sgdscope.probes import Accuracy, Every, Recorder, record
from sgdscope.runs import Result, checkpoint, run
from sgdscope.training import Snapshot, train


@dataclass(frozen=True)
class Training:
    """One training run driven by an estimator that is refreshed every so many steps."""

    seed: int
    estimator: str  # sgd, sgd2, svrg, gc
    dataset: str
    model: str
    learning_rate: float
    num_steps: int
    hidden: tuple[int, ...] = (1024, 1024)
    num_examples: int | None = None
    batch_size: int = 128  # B, and K of the clustering
    momentum: float = 0.5
    weight_decay: float = 5e-4
    gc_steps: int = 3
    update_every: int = 500  # U, from step 0 on
    log_every: int = 100
    loss_examples: int | None = None  # for the loss; all by default


def gradients_computed(config: Training, step: int, num_examples: int) -> int:
    """Gradients of single examples computed up to a step, those of refreshes included.

    A step takes B (SG-B, GC) or 2 B (SG-2B; SVRG, at two points). A refresh of SVRG takes N, one of GC N for each of its iterations and, from the
    second refresh on, N more for the centres of the old clusters.
    """
    refreshes = 0 if step == 0 else (step - 1) // config.update_every + 1  # one before step 1, U + 1, ...
    passes = {"svrg": refreshes, "gc": refreshes * config.gc_steps + max(refreshes - 1, 0)}.get(config.estimator, 0)
    return step * config.batch_size * (2 if config.estimator in ("sgd2", "svrg") else 1) + passes * num_examples


def refreshing(snapshots: Iterator[Snapshot], config: Training, chosen: Sampled) -> Iterator[Snapshot]:
    """The snapshots, the estimator refreshed after each that is due."""
    for point in snapshots:
        yield point
        if point.step % config.update_every == 0 and point.status == "running":
            generator = stream_generator(config.seed, "refresh", str(point.step))
            chosen.refresh(point.model, point.loss, point.x, point.y, generator=generator)


@run(version=1)
def train_with(config: Training) -> Result:
    """Columns: step, epoch, train_loss, train_accuracy, gradients (`gradients_computed`)."""
    shared = {name: getattr(config, name) for name in ("dataset", "model", "hidden", "num_examples", "batch_size", "gc_steps")}
    settings = Trajectory(config.seed, **shared)
    model, loss, x, y = problem(settings)
    chosen = estimator(config.estimator, settings)
    recorder = Recorder([Accuracy(num_examples=config.loss_examples, seed=config.seed)], when=Every(config.log_every))
    trained = train(
        model, loss, x, y, learning_rate=config.learning_rate, num_steps=config.num_steps, momentum=config.momentum,
        weight_decay=config.weight_decay, seed=config.seed, estimator=chosen, checkpoint=checkpoint(config),
        carry={"recorder": recorder},
    )  # fmt: skip
    table = record(refreshing(trained, config, chosen), recorder)
    status = table.status.iloc[-1]
    table["gradients"] = [gradients_computed(config, step, len(x)) for step in table.step]
    return Result(
        table.drop(columns=["status", "learning_rate"]),
        status="diverged" if status == "diverged" else "finished",
        diverged_at=int(table.step.iloc[-1]) if status == "diverged" else None,
    )
