"""What a checkpoint holds of a training run: its settings, so that no other run goes on from it, and its state."""

from __future__ import annotations

from pathlib import Path

from sgdscope.data.cache import digest
from sgdscope.errors import InvalidInput
from sgdscope.models.examples import leaves
from sgdscope.training.describe import describe
from sgdscope.training.run import Run


def settings(run: Run) -> dict[str, object]:
    """All that decides the snapshots of a run, except for the weights it began with and the number of steps; see `describe`."""
    point, batches, decay = run.point, run.batches, iter(run.sgd.decay)
    numbers = {
        "data": digest(dict([*leaves(point.x, "x"), *leaves(point.y, "y")])),
        "batch_size": batches.batch_size,
        "sampling": batches.sampling,
        "drop_last": batches.drop_last,
        "momentum": run.sgd.momentum,
        "estimator": None if run.estimator is None else describe(type(run.estimator)),
    }
    named = {
        name: getattr(run, name)
        for name in ("seed", "mode", "largest_loss", "chunk_size", "augment", "gradient", "loss_after", "full_loss")
    }
    named |= {"loss": point.loss, "learning_rate": run.rate}
    parameters = {
        f"parameter {name}": f"{tuple(parameter.shape)}, {parameter.dtype}, "
        + (f"weight decay {next(decay)}" if parameter.requires_grad else "frozen")
        for name, parameter in point.model.named_parameters()
    }
    return numbers | {name: describe(value) for name, value in named.items()} | parameters


def state(run: Run, settings: dict[str, object]) -> dict[str, object]:
    """All that decides the steps to come, and what is carried along."""
    return {
        "settings": settings,
        "step": run.step,
        "model": run.point.model.state_dict(),
        "sgd": run.sgd.state(),
        "batches": run.batches.state(),
        "generators": {name: generator.get_state() for name, generator in run.generators.items()},
        "carry": {name: item.state() for name, item in run.carry.items()},
    }


def restore(run: Run, settings: dict[str, object], state: dict[str, object], path: Path) -> None:
    """Take up a `state`, if it was saved with these `settings`; ``path`` is for the message.

    Raises:
        InvalidInput: the state is of other settings.
    """
    ours, theirs = settings, state["settings"]
    for name in ours | theirs:
        if theirs.get(name) != ours.get(name):
            raise InvalidInput(
                f"checkpoint {path} is of another run: {name} was {theirs.get(name)!r}, is {ours.get(name)!r}. Use another file or delete it."
            )
    if set(state["carry"]) != set(run.carry):
        raise InvalidInput(f"checkpoint {path} carries {sorted(state['carry'])}, the run {sorted(run.carry)}. Give the same ones.")
    run.step = state["step"]
    run.point.model.load_state_dict(state["model"])
    run.sgd.restore(state["sgd"])
    run.batches.restore(state["batches"])
    for name, generator in run.generators.items():
        generator.set_state(state["generators"][name])
    for name, item in run.carry.items():
        item.restore(state["carry"][name])
