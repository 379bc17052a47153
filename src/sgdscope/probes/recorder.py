"""The recorder: probes and their schedules, one call a step, one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.probes.probe import Probe
from sgdscope.probes.when import Until
from sgdscope.training import Snapshot, When, due


class Recorder:
    """Measures snapshots when they are due and keeps what the probes return.

    In this library's loop::

        recorder = Recorder([Accuracy(), GradientCovariance()], when=Every(10), until=Reaches("train_accuracy", 0.65))
        table = record(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=128, num_epochs=5), recorder)

    or in any other, one call a step::

        recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step, learning_rate=0.1, batch_size=128))

    Handed to `train` as ``carry={"recorder": recorder}`` it goes into the checkpoint, and a resumed run gives the same table bit for bit.

    Args:
        probes: what to measure; a pair (probe, schedule) has a schedule of its own.
        when: schedule of the others: a function of the number of steps made, or True for every step.
        until: ends the run by what was measured: a function of the row, such as `Reaches`. See `finished`.

    Raises:
        InvalidInput: no probes, or something else in their place.
    """

    def __init__(self, probes: Sequence[Probe | tuple[Probe, When]], *, when: When = True, until: Until | None = None) -> None:
        pairs = [item if isinstance(item, tuple) else (item, when) for item in probes]
        if not pairs or not all(isinstance(probe, Probe) and (isinstance(due_at, bool) or callable(due_at)) for probe, due_at in pairs):
            raise InvalidInput(f"probes must be probes, or pairs of a probe and a schedule, at least one; {list(probes)!r} came.")
        self._probes, self._until = pairs, until
        everyone = [one for probe, _ in pairs for one in (probe, *probe.parts)]
        self._stateful = list({id(probe): probe for probe in everyone}.values())  # each once, in order
        self._rows: list[dict[str, object]] = []
        self._arrays: dict[str, list[Tensor]] = {}
        self._steps: dict[str, list[int]] = {}
        self.finished = False

    def __call__(self, snapshot: Snapshot) -> dict[str, object] | None:
        """Measures what is due at this step and returns the new row of the table, or None.

        A row holds step, epoch, learning rate and status, and the numbers of the probes. Where losses or gradients are not finite, or the
        loop says so, the row has the status ``diverged`` and nothing measured, and the recorder is `finished`.

        Raises:
            InvalidInput: a step at or before the one measured last, two probes with one column, and what the probes refuse.
        """
        diverged = snapshot.status == "diverged"
        wanted = [probe for probe, when in self._probes if due(when, snapshot.step)]
        if self.finished or not (wanted or diverged):
            return None
        if self._rows and snapshot.step <= self._rows[-1]["step"]:
            raise InvalidInput(
                f"steps must increase; step {snapshot.step} came after step {self._rows[-1]['step']}. Count steps up from 0."
            )
        row: dict[str, object] = {
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "learning_rate": snapshot.learning_rate,
            "status": snapshot.status,
        }
        arrays: dict[str, Tensor] = {}
        if not diverged:
            try:
                for probe in wanted:
                    self._take(probe, snapshot, row, arrays)
            except NotFinite:
                row, arrays, diverged = {name: row[name] for name in list(row)[:4]} | {"status": "diverged"}, {}, True
        self._rows.append(row)
        for name, value in arrays.items():
            self._arrays.setdefault(name, []).append(value)
            self._steps.setdefault(name, []).append(snapshot.step)
        self.finished = diverged or (self._until is not None and self._until(row))
        return row

    def _take(self, probe: Probe, snapshot: Snapshot, row: dict[str, object], arrays: dict[str, Tensor]) -> None:
        for name, value in probe.measure(snapshot).items():
            if name in row or name in arrays:
                raise InvalidInput(f"each column must come from one probe; {name!r} came from two. Name them apart, or drop one.")
            if isinstance(value, Tensor):
                arrays[name] = value.detach().cpu()
            else:
                row[name] = float(value)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each measured step; NaN where a probe was not due."""
        return pd.DataFrame(self._rows)

    @property
    def arrays(self) -> dict[str, Tensor]:
        """Name to (times measured, ...); `steps` says at which steps."""
        return {name: torch.stack(values) for name, values in self._arrays.items()}

    @property
    def steps(self) -> dict[str, list[int]]:
        """Name of an array to the steps at which it was measured."""
        return {name: list(steps) for name, steps in self._steps.items()}

    def state(self) -> dict[str, object]:
        """All that was measured, and what the probes start from next, for a checkpoint."""
        return {
            "rows": self._rows,
            "arrays": self._arrays,
            "steps": self._steps,
            "finished": self.finished,
            "probes": [probe.state() for probe in self._stateful],
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`.

        Raises:
            InvalidInput: the state of other probes.
        """
        if len(state["probes"]) != len(self._stateful):
            raise InvalidInput(
                f"the checkpoint holds {len(state['probes'])} probes, the recorder {len(self._stateful)}. Give the same ones."
            )
        self._rows, self._arrays, self._steps = list(state["rows"]), dict(state["arrays"]), dict(state["steps"])
        self.finished = state["finished"]
        for probe, saved in zip(self._stateful, state["probes"], strict=True):
            probe.restore(saved)


def record(snapshots: Iterable[Snapshot], recorder: Recorder) -> pd.DataFrame:
    """Runs a loop to its end, or until the recorder is finished, and returns the table."""
    for snapshot in snapshots:
        recorder(snapshot)
        if recorder.finished:
            break
    return recorder.table
