"""The training loop: a generator of snapshots. It measures nothing but the losses of its own steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from math import inf
from pathlib import Path

import torch
from torch import nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, whole
from sgdscope.models.examples import Examples, device_of
from sgdscope.models.losses import Loss
from sgdscope.training import checkpoint as checkpoints
from sgdscope.training import resume
from sgdscope.training.augmentation import Augment
from sgdscope.training.batches import Batches
from sgdscope.training.checkpoint import Carried
from sgdscope.training.checks import check_batch_size, check_fit, check_settings, no_global_random_numbers
from sgdscope.training.gradient import Estimator, GradientRule
from sgdscope.training.run import Run, When
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
    generator: torch.Generator | None = None,
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
    carry: Mapping[str, Carried] | None = None,
) -> Iterator[Snapshot]:
    """SGD on the mean loss, one snapshot a step: first of step 0, before any, then after each.

    The caller's loop over the snapshots is where things are measured, and where it may end. Two runs with the same arguments give the
    same snapshots bit for bit (on one machine, on the CPU); no global random number is drawn.

    The caller's loop is also what refreshes an estimator: at the snapshot of step 0, before the first step, and at each later one where it
    is due. At every snapshot the model is in ``mode`` again, so that ``model.eval()`` does not last: clustering, which refuses batch norm in
    training mode, is refreshed inside ``with measuring(model):``, or the run gets ``mode="eval"``.

    Args:
        model: trained in place. What is random in training mode, such as dropout, is refused: it draws from PyTorch's global generator.
        loss: of single examples, a name or a function; its mean over the batch is minimised.
        x: all training inputs, on the model's device from the start; a tensor or a (nested) dict of tensors, examples first.
        y: all training targets.
        learning_rate: a number, or ``schedule(step, epoch)`` such as `Drops`.
        batch_size: B; left out where an estimator has an attribute of that name.
        num_steps: steps in all, or
        num_epochs: passes through the data in all, one of the two.
        momentum: as in ``torch.optim.SGD``, without dampening.
        weight_decay: adds ``weight_decay * theta`` to the gradient.
        decayed: which parameters decay, from name and parameter; all by default.
        sampling: ``epochs`` (shuffled passes), ``independent`` (random subsets) or ``with_replacement``; see `Batches`.
        drop_last: with ``epochs``, leave out the smaller batch at the end of a pass.
        seed: of the batches, the augmentation and the estimator, each a stream of its own.
        generator: of the batches, on the CPU, in place of the seed's stream. Whoever else draws from it changes the batches to come; its state
            goes into the checkpoints.
        augment: ``augment(x, generator)`` on each batch; the generator is on the CPU.
        gradient: ``gradient(model, loss, x, y)`` on the batch, in place of autograd of its mean loss.
        estimator: has ``estimate(model, loss, x, y, generator=)`` on *all* data; it draws its own examples, so there are no batch losses,
            and ``sampling``, ``drop_last`` and ``generator`` are refused. An epoch is N // B steps, N / B where B is above N.
        mode: ``train`` or ``eval``, the mode in which gradients are computed (batch norm).
        loss_after: when to compute the batch's loss after the step too: one more forward pass. A function is asked with the number of steps
            made, as a probe's schedule.
        full_loss: when to compute the loss on all data before and after the step, in eval mode: a forward pass over all data each.
        largest_loss: a batch loss above it counts as divergence; by default only a loss or gradient that is not finite does.
        chunk_size: examples a forward pass of the full loss.
        checkpoint: a file (.safetensors). If it exists, training goes on from it: the first snapshot is then that after the saved step, and
            there is none if the run had finished. What goes on must be the same run, with the same data; ``num_steps`` may differ. Functions
            are compared by name, code, defaults and the numbers, texts and tensors that they close over, other callables by type and public
            attributes; not by globals, nor by the functions that they call.
        checkpoint_every: steps between two savings; each is made once the caller is done with that step's snapshot. The last step saves too.
        carry: things whose ``state()`` is saved and restored along, by name, such as the collector of measurements; an estimator that has a
            state is one of them anyway.

    Yields:
        Snapshots. The last has status ``finished`` or ``diverged``.

    Raises:
        InvalidInput: data that do not fit the model or the loss, a setting out of range or against the estimator's, a checkpoint of other
            settings; and from the first step, if it draws from the global generator.
        CheckpointError: the checkpoint cannot be read or written.
    """
    count = check_fit(model, loss, x, y)
    size = check_batch_size(batch_size, estimator, sampling=sampling, drop_last=drop_last, generator=generator)
    if estimator is not None and size > count:
        sampling = "with_replacement"  # no batch is drawn; epochs are counted as step * B / N
    carried = dict(carry or {})
    if callable(getattr(estimator, "state", None)) and not any(item is estimator for item in carried.values()):
        carried["estimator"] = estimator
    run = Run(
        point=Snapshot(model=model, loss=loss, x=x, y=y, batch_size=size),
        sgd=SGD(model, momentum=momentum, weight_decay=weight_decay, decayed=decayed),
        batches=Batches(
            count,
            size,
            sampling=sampling,
            drop_last=drop_last,
            generator=stream_generator(seed, "batches") if generator is None else generator,
            device=device_of(x),
        ),
        rate=as_schedule(learning_rate),
        seed=seed,
        augment=augment,
        gradient=gradient,
        estimator=estimator,
        mode=mode,
        loss_after=loss_after,
        full_loss=full_loss,
        largest_loss=largest_loss,
        chunk_size=chunk_size,
        carry=carried,
    )
    check_settings(run)
    last = _last_step(num_steps, num_epochs, run.batches)
    checkpoint_every = whole("checkpoint_every", checkpoint_every)
    path = None if checkpoint is None else Path(checkpoint)
    if path is None:
        return _snapshots(run, last)
    settings, saved = resume.settings(run), checkpoints.load(path)
    if saved is not None:
        resume.restore(run, settings, saved, path)
        if run.step > last:
            raise InvalidInput(f"checkpoint {path} is at step {run.step}, beyond the {last} asked for. Use another file or delete it.")
    return _saving(_snapshots(run, last, resumed=saved is not None), run, last, path, settings, checkpoint_every)


def _last_step(num_steps: int | None, num_epochs: float | None, batches: Batches) -> int:
    if (num_steps is None) == (num_epochs is None):
        raise InvalidInput(f"give num_steps or num_epochs, one of them; got {num_steps!r} and {num_epochs!r}.")
    if num_steps is None:
        if isinstance(num_epochs, bool) or not isinstance(num_epochs, int | float) or not 0 <= num_epochs < inf:
            raise InvalidInput(f"num_epochs must be a finite number that is not negative, got {num_epochs!r}.")
        return round(num_epochs * batches.steps_per_epoch)
    return whole("num_steps", num_steps, 0)


def _snapshots(run: Run, last: int, *, resumed: bool = False) -> Iterator[Snapshot]:
    run.set_mode()
    if not resumed:
        yield replace(run.start(), status="finished" if last == 0 else "running")
    guard = no_global_random_numbers(run.point.x)
    while run.step < last:
        with guard:
            snapshot = run.advance()
        guard = nullcontext()  # once is enough
        yield replace(snapshot, status="finished") if run.step == last else snapshot  # not if it diverged
        if snapshot.status == "diverged":
            return


def _saving(snapshots: Iterator[Snapshot], run: Run, last: int, path: Path, settings: dict[str, object], every: int) -> Iterator[Snapshot]:
    for snapshot in snapshots:
        yield snapshot
        if run.step and snapshot.status != "diverged" and (run.step % every == 0 or run.step == last):
            checkpoints.save(path, resume.state(run, settings))
