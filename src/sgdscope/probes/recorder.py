"""The recorder: probes and their schedules, one call a step, one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

import pandas as pd
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.probes.probe import Probe
from sgdscope.probes.when import Reaches, Until
from sgdscope.training import Snapshot, When, due
from sgdscope.training.describe import describe
from sgdscope.training.run import check_when


class Recorder:
    """Measures snapshots when they are due and keeps what the probes return.

    In this library's loop::

        recorder = Recorder([Accuracy(), GradientCovariance()], when=Every(10), until=Reaches("train_accuracy", 0.65))
        table = record(train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=128, num_epochs=5), recorder)

    or in any other, one call a step::

        recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step, learning_rate=0.1, batch_size=128))

    Handed to `train` as ``carry={"recorder": recorder}`` it goes into the checkpoint, and a resumed run gives the same table bit for bit.

    Args:
        probes: what to measure, one or several; a pair (probe, schedule) has a schedule of its own.
        when: schedule of the others: a function of the number of steps made, or True for every step.
        until: ends the run by what was measured: a function of the row, such as `Reaches`. See `finished`.

    Raises:
        InvalidInput: no probes, no schedule, or an ``until`` that is no function.
    """

    def __init__(self, probes: Sequence[Probe | tuple[Probe, When]], *, when: When = True, until: Until | None = None) -> None:
        listed = [probes] if isinstance(probes, Probe) else list(probes)
        pairs = [item if isinstance(item, tuple) else (item, when) for item in listed]
        if not pairs or not all(len(pair) == 2 and isinstance(pair[0], Probe) for pair in pairs):
            raise InvalidInput(f"probes must be probes, or pairs of a probe and a schedule, at least one; {listed!r} came.")
        check_when("when", when)
        for probe, own in pairs:
            check_when(f"the schedule of {type(probe).__name__}", own)
        if until is not None and not callable(until):
            raise InvalidInput(f"until must be a function of the row, such as Reaches('train_accuracy', 0.65); {until!r} came.")
        self._probes, self._until = pairs, until
        everyone = [one for probe, _ in pairs for one in (probe, *probe.parts)]
        self._stateful = list({id(probe): probe for probe in everyone}.values())  # each once, in order
        self._settings = [describe(probe) for probe in self._stateful]  # now, before anything is measured
        self._silent = {id(probe) for probe, _ in pairs}  # those that have measured nothing yet
        self._until_checked = not isinstance(until, Reaches)
        self._rows: list[dict[str, object]] = []
        self._arrays: dict[str, list[Tensor]] = {}
        self._steps: dict[str, list[int]] = {}
        self.finished = False

    def __call__(self, snapshot: Snapshot) -> dict[str, object] | None:
        """Measures what is due at this step and returns the new row of the table, or None.

        A row holds step, epoch, learning rate and status, and the numbers of the probes. Where losses or gradients are not finite, or the
        loop says so, the row has the status ``diverged`` and nothing measured, and the recorder is `finished`.

        Raises:
            InvalidInput: a step at or before the one measured last, two probes with one column, an ``until`` with a column of none, and what
                the probes refuse.
        """
        if self.finished:
            return None
        diverged = snapshot.status == "diverged"
        wanted = [due(when, snapshot.step) for _, when in self._probes]
        if (any(wanted) or diverged) and self._rows and snapshot.step <= (last := self._rows[-1]["step"]):
            raise InvalidInput(
                f"steps must increase; step {snapshot.step} came after step {last}. Count steps up from 0. A loop that goes on from a state "
                f"that holds step {last} begins with step {last + 1}, unless the state is taken before the recorder is called."
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
                for (probe, _), measured in zip(self._probes, wanted, strict=True):
                    if measured:
                        self._take(probe, snapshot, row, arrays)
                    else:
                        probe.pass_over(snapshot)
            except NotFinite:
                row, arrays, diverged = {name: row[name] for name in list(row)[:4]} | {"status": "diverged"}, {}, True
        if not (any(wanted) or diverged):
            return None
        self._rows.append(row)
        for name, value in arrays.items():
            self._arrays.setdefault(name, []).append(value)
            self._steps.setdefault(name, []).append(snapshot.step)
        self.finished = diverged or self._ends(row)
        return row

    def _ends(self, row: dict[str, object]) -> bool:
        if not self._until_checked and not self._silent:
            known = list({name: None for earlier in self._rows for name in earlier})
            if self._until.column not in known:
                raise InvalidInput(f"until must name a column that is measured, {', '.join(known)}; {self._until.column!r} came.")
            self._until_checked = True
        return self._until is not None and bool(self._until(row))

    def _take(self, probe: Probe, snapshot: Snapshot, row: dict[str, object], arrays: dict[str, Tensor]) -> None:
        found = probe.measure(snapshot)
        if found:
            self._silent.discard(id(probe))
        for name, value in found.items():
            if name in row or name in arrays:
                raise InvalidInput(f"each column must come from one probe; {name!r} came from two. Name them apart, or drop one.")
            if isinstance(value, Tensor):
                arrays[name] = value.detach().to("cpu", copy=True)  # it may be a view of what changes
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
        """All that was measured, and what the probes start from next, for a checkpoint. Later calls do not change it."""
        return {
            "rows": [dict(row) for row in self._rows],
            "arrays": {name: list(values) for name, values in self._arrays.items()},
            "steps": self.steps,
            "finished": self.finished,
            "settings": list(self._settings),
            "probes": [probe.state() for probe in self._stateful],
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`. Schedules and ``until`` may differ from those of the recorder that it was taken from.

        Raises:
            InvalidInput: the state of other probes, of the same ones in another order, or with other settings.
        """
        if not isinstance(state, Mapping):
            raise InvalidInput(f"the state must be what state() of a recorder returned; {type(state).__name__} came.")
        for theirs, ours in zip_longest(state.get("settings", ["probes without settings"]), self._settings, fillvalue="no probe"):
            if theirs != ours:
                raise InvalidInput(
                    f"the state must be of the same probes, in the same order and with the same settings; it holds {theirs} where the "
                    f"recorder has {ours}. Make the recorder as it was, or begin anew."
                )
        self._rows = [dict(row) for row in state["rows"]]
        self._arrays = {name: list(values) for name, values in state["arrays"].items()}
        self._steps = {name: list(steps) for name, steps in state["steps"].items()}
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
