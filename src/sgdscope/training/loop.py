"""The training loop: a generator of snapshots. It measures nothing but the losses of its own steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

from torch import nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, device_of
from sgdscope.models.losses import Loss
from sgdscope.training import checkpoint as checkpoints
from sgdscope.training.augmentation import Augment
from sgdscope.training.batches import Batches
from sgdscope.training.checks import check_fit, check_settings
from sgdscope.training.gradient import Estimator, GradientRule
from sgdscope.training.run import Run, When, describe
from sgdscope.training.schedules import Schedule, as_schedule
from sgdscope.training.sgd import SGD
from sgdscope.training.snapshot import Snapshot


def train(
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    *,
    learning_rate: float | Schedule,
    batch_size: int | None = None,
    num_steps: int | None = None,
    num_epochs: float | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    decayed: Callable[[str, nn.Parameter], bool] | None = None,
    sampling: str = "epochs",
    drop_last: bool = True,
    seed: int = 0,
    augment: Augment | None = None,
    gradient: GradientRule | None = None,
    estimator: Estimator | None = None,
    mode: str = "train",
    loss_after: When = False,
    full_loss: When = False,
    largest_loss: float = inf,
    chunk_size: int = 1000,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    carry: Mapping[str, checkpoints.Carried] | None = None,
) -> Iterator[Snapshot]:
    """SGD on the mean loss, one snapshot a step: first of step 0, before any, then after each.

    The caller's loop over the snapshots is where things are measured; it may also stop, or refresh an estimator. Two runs with the same
    arguments give the same snapshots bit for bit (on one machine, on the CPU); no global random number is drawn.

    Args:
        model: trained in place. Active dropout is refused: it draws from PyTorch's global generator.
        loss: of single examples, a name or a function; its mean over the batch is minimised.
        x: all training inputs, on the model's device from the start; a tensor or a (nested) dict of tensors, examples first.
        y: all training targets.
        learning_rate: a number, or ``schedule(step, epoch)`` such as `Drops`.
        batch_size: B; may be left out if the estimator has an attribute of that name.
        num_steps: steps in all, or
        num_epochs: passes through the data in all, one of the two.
        momentum: as in ``torch.optim.SGD``, without dampening.
        weight_decay: adds ``weight_decay * theta`` to the gradient.
        decayed: which parameters decay, from name and parameter; all by default.
        sampling: ``epochs`` (shuffled passes), ``independent`` (random subsets) or ``with_replacement``; see `Batches`.
        drop_last: with ``epochs``, leave out the smaller batch at the end of a pass.
        seed: of the batches, the augmentation and the estimator, each a stream of its own.
        augment: ``augment(x, generator)`` on each batch; the generator is on the CPU.
        gradient: ``gradient(model, loss, x, y)`` on the batch, in place of autograd of its mean loss.
        estimator: has ``estimate(model, loss, x, y, generator=)`` on *all* data; it draws its own examples, so there are no batch losses.
        mode: ``train`` or ``eval``, the mode in which gradients are computed (batch norm).
        loss_after: when to compute the batch's loss after the step too: one more forward pass. A function is asked with the number of steps
            made, as a probe's schedule.
        full_loss: when to compute the loss on all data before and after the step, in eval mode: a forward pass over all data each.
        largest_loss: a batch loss above it counts as divergence; by default only a loss or gradient that is not finite does.
        chunk_size: examples a forward pass of the full loss.
        checkpoint: a file (.safetensors). If it exists, training goes on from it: the first snapshot is then that after the saved step.
        checkpoint_every: steps between two savings; each is made once the caller is done with that step's snapshot. The last step saves too.
        carry: things whose ``state()`` is saved and restored along, by name, such as the collector of measurements.

    Yields:
        Snapshots. The last has status ``finished`` or ``diverged``.

    Raises:
        InvalidInput: data that do not fit the model or the loss, a setting out of range, a checkpoint of other settings.
        CheckpointError: the checkpoint cannot be written.
    """
    count = check_fit(model, loss, x, y)
    rate = as_schedule(learning_rate)
    size = getattr(estimator, "batch_size", None) if batch_size is None else batch_size
    if size is None:
        raise InvalidInput("batch_size is missing: give the number of examples a step.")
    check_settings(
        model, momentum=momentum, weight_decay=weight_decay, mode=mode, gradient=gradient, estimator=estimator, augment=augment,
        loss_after=loss_after, largest_loss=largest_loss, checkpoint_every=checkpoint_every,
    )  # fmt: skip
    batches = Batches(count, size, sampling=sampling, drop_last=drop_last, generator=stream_generator(seed, "batches"), device=device_of(x))
    if (num_steps is None) == (num_epochs is None):
        raise InvalidInput(f"give num_steps or num_epochs, one of them; got {num_steps!r} and {num_epochs!r}.")
    last = num_steps if num_steps is not None else round(num_epochs * batches.steps_per_epoch)
    if isinstance(last, bool) or not isinstance(last, int) or last < 0:
        raise InvalidInput(f"num_steps must be a whole number that is not negative, got {last!r}.")
    settings = {
        "batch_size": size, "momentum": momentum, "weight_decay": weight_decay, "sampling": sampling, "drop_last": drop_last, "seed": seed,
        "mode": mode, "learning_rate": describe(rate), "augment": describe(augment), "gradient": describe(gradient), "decayed": describe(decayed),
        "estimator": describe(type(estimator)), "loss": describe(loss), "num_examples": count, "dtype": str(next(model.parameters()).dtype),
        "parameters": [list(parameter.shape) for parameter in model.parameters()],
    }  # fmt: skip
    run = Run(
        point=Snapshot(model=model, loss=loss, x=x, y=y, batch_size=size),
        sgd=SGD(model, momentum=momentum, weight_decay=weight_decay, decayed=decayed),
        batches=batches,
        generators={name: stream_generator(seed, name) for name in ("augment", "estimator")},
        rate=rate,
        carry=dict(carry or {}),
        settings=settings,
        augment=augment,
        gradient=gradient,
        estimator=estimator,
        mode=mode,
        loss_after=loss_after,
        full_loss=full_loss,
        largest_loss=largest_loss,
        chunk_size=chunk_size,
    )
    path = None if checkpoint is None else Path(checkpoint)
    saved = None if path is None else checkpoints.load(path)
    if saved is not None:
        run.restore(saved, path)
    return _snapshots(run, last, path, checkpoint_every, resumed=saved is not None)


def _snapshots(run: Run, last: int, path: Path | None, every: int, *, resumed: bool) -> Iterator[Snapshot]:
    if not resumed:
        yield replace(run.at(run.step), status="finished" if last == 0 else "running")
    while run.step < last:
        snapshot = run.advance()
        yield replace(snapshot, status="finished") if snapshot.status == "running" and run.step == last else snapshot
        if snapshot.status == "diverged":
            return
        if path is not None and (run.step % every == 0 or run.step == last):
            checkpoints.save(path, run.state())
