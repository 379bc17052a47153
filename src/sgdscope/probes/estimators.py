"""Variance of several gradient estimators along one trajectory: Faghri et al. (2020, Sec. 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, whole
from sgdscope.estimators import SVRG, GradientClustering, gradient_variance
from sgdscope.estimators.checks import check_estimator
from sgdscope.estimators.repeated import Estimator
from sgdscope.estimators.variance import GUARD, check_scales
from sgdscope.gradients.budget import MEMORY
from sgdscope.probes.probe import Measured, Probe
from sgdscope.training import Snapshot, When, due, measuring
from sgdscope.training.run import check_when


class EstimatorVariance(Probe):
    """Average and normalised variance of each estimator at a snapshot, in eval mode; refreshes the estimators where that is due.

    Each estimator draws from a stream of its own, made from the seed, its name and the step, so that the numbers of one do not depend on which
    others are measured. At a refresh SVRG and GC are measured twice: just before, with what they were refreshed on last, and right after; only
    after where they refuse the model as it is now (another one, or other trainable parameters). Nothing is measured of any before the first
    refresh. Variances scale with the square of the loss.

    Refreshes happen at all steps of ``refresh``, whatever the probe's own schedule: at a step that is not one of its own the recorder has the
    estimators refreshed, measures nothing and adds no row. So call the recorder at every step.

    Measures (with the estimator's name before each):
        average: ``(1/d) tr Cov``; of the d trainable parameters, over ``repeats`` estimates, unbiased.
        normalised: ratio of totals of variance and second moment, from the same draws (paper: V[g] / E[g^2]).
        normalised_mean: mean over coordinates of that ratio.
        guarded, unguarded: the authors' two-pass form with and without its 1e-7; ``two_pass`` only.
        average_two_pass: their variance, in expectation ``1 + 1/R`` times the average; ``two_pass`` only.
        rescaled_0, rescaled_1, ...: their form with all gradients rescaled to the variances ``rescaled_to``; ``two_pass`` only.
        age: steps since the last refresh.
        before_average, before_normalised: of SVRG and GC where refreshed at this step and earlier, the same just before.
    Of gradient clustering also:
        clusters: how many hold an example.
        largest: share of the examples in the largest.
        collapsed: 1 if an assignment of this step's refresh put all examples into one cluster, else 0; objective: of that refresh (Eq. 2).

    Args:
        estimators: name to estimator: those of `sgdscope.estimators`, or anything with ``estimate(model, loss, x, y, generator=)``, as in
            `train` and `gradient_variance`. Its ``refresh`` (same arguments), ``state`` and ``restore`` are called if it has them.
        refresh: at which steps to refresh all of them: the clusters of GC, the snapshot of SVRG.
        repeats: R; the paper takes 50, and 10 on ImageNet.
        two_pass: names of those measured by the authors' form too, at twice the cost; True for all, False for none.
        rescaled_to: variances for ``rescaled``.
        seed: of all streams.
        generator: from which everything is drawn instead, in the order of the estimators: the authors' protocol has one generator for
            measurements and training. It must be saved with the training then.
        memory: bytes of work of a measurement.

    Raises:
        InvalidInput: no estimators, or something else in their place; a name that is another one with ``_before``; no schedule; a
            name under ``two_pass`` that is none of theirs; variances to rescale to that are not above 0.
    """

    def __init__(
        self,
        estimators: Mapping[str, Estimator],
        *,
        refresh: When,
        repeats: int = 50,
        two_pass: bool | Collection[str] = True,
        rescaled_to: Sequence[float] = (),
        seed: int = 0,
        generator: torch.Generator | None = None,
        memory: int = MEMORY,
    ) -> None:
        named = estimators if isinstance(estimators, Mapping) else {}
        if not named or not all(isinstance(name, str) for name in named):
            raise InvalidInput(f"estimators must be a dict of names and estimators, at least one; {estimators!r} came.")
        for name, one in named.items():
            check_estimator(one)
            if f"{name}_before" in named:
                raise InvalidInput(
                    f"columns '{name}_before_...' are those of {name!r} before a refresh; {name + '_before'!r} came too. Rename it."
                )
        check_scales(guard=GUARD, rescaled_to=rescaled_to)
        check_when("refresh", refresh)
        self.estimators, self.refresh, self.repeats, self.seed = dict(named), refresh, whole("repeats", repeats, 2), seed
        self.two_pass = _names(two_pass, named)
        self.rescaled_to, self.generator, self.memory = tuple(rescaled_to), generator, memory
        self._refreshed: int | None = None

    def measure(self, snapshot: Snapshot) -> Measured:
        """The numbers at one snapshot; none before the first refresh."""
        found: Measured = {}
        again = due(self.refresh, snapshot.step)
        first = self._refreshed is None
        if first and not again:
            return found
        age = 0 if again else snapshot.step - self._refreshed
        with measuring(snapshot.model):
            for name, estimator in self.estimators.items():
                if again:
                    found |= {} if first else self._before(name, estimator, snapshot)
                    found |= self._refresh(name, estimator, snapshot)
                found |= self._variance(name, estimator, snapshot) | {f"{name}_age": age}
        if again:
            self._refreshed = snapshot.step
        return found

    def pass_over(self, snapshot: Snapshot) -> None:
        """Refreshes the estimators where that is due at a step that is not measured."""
        if due(self.refresh, snapshot.step) and self._refreshed != snapshot.step:
            with measuring(snapshot.model):
                for name, estimator in self.estimators.items():
                    self._refresh(name, estimator, snapshot)
            self._refreshed = snapshot.step

    def _before(self, name: str, estimator: Estimator, snapshot: Snapshot) -> Measured:
        """Of those that keep something, and may be used on this model still."""
        if not isinstance(estimator, SVRG | GradientClustering) or not _fits(estimator, snapshot):
            return {}
        stale = gradient_variance(
            estimator, snapshot.model, snapshot.loss, snapshot.x, snapshot.y, repeats=self.repeats, two_pass=False,
            memory=self.memory, generator=self._stream(name, "before", snapshot),
        )  # fmt: skip
        return {f"{name}_before_average": stale.average, f"{name}_before_normalised": stale.normalised}

    def _refresh(self, name: str, estimator: Estimator, snapshot: Snapshot) -> Measured:
        if hasattr(estimator, "refresh"):
            generator = self._stream(name, "refresh", snapshot)
            estimator.refresh(snapshot.model, snapshot.loss, snapshot.x, snapshot.y, generator=generator)
        if not isinstance(estimator, GradientClustering):
            return {}
        return {f"{name}_collapsed": estimator.clustering.collapsed, f"{name}_objective": estimator.clustering.objective[-1]}

    def _variance(self, name: str, estimator: Estimator, snapshot: Snapshot) -> Measured:
        twice = name in self.two_pass
        spread = gradient_variance(
            estimator, snapshot.model, snapshot.loss, snapshot.x, snapshot.y, repeats=self.repeats, two_pass=twice,
            rescaled_to=self.rescaled_to, memory=self.memory, generator=self._stream(name, "variance", snapshot),
        )  # fmt: skip
        found = {"average": spread.average, "normalised": spread.normalised, "normalised_mean": spread.normalised_mean}
        if twice:
            found |= {"guarded": spread.normalised_guarded, "unguarded": spread.normalised_unguarded}
            found |= {"average_two_pass": spread.average_two_pass}
            found |= {f"rescaled_{i}": value for i, value in enumerate(spread.normalised_rescaled)}
        if isinstance(estimator, GradientClustering):
            sizes = torch.bincount(estimator.partition)
            found |= {"clusters": int((sizes > 0).sum()), "largest": int(sizes.max()) / len(estimator.partition)}
        return {f"{name}_{key}": value for key, value in found.items()}

    def _stream(self, name: str, what: str, snapshot: Snapshot) -> torch.Generator:
        if self.generator is not None:
            return self.generator
        return stream_generator(self.seed, "estimator variance", name, what, str(snapshot.step))

    def state(self) -> dict[str, object]:
        """The estimators' states, and when they were refreshed."""
        states = {name: one.state() if hasattr(one, "state") else None for name, one in self.estimators.items()}
        return {"refreshed": self._refreshed, "estimators": states}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`.

        Raises:
            InvalidInput: it is of other estimators.
        """
        if list(state["estimators"]) != list(self.estimators):
            raise InvalidInput(f"the state must be of the estimators {list(self.estimators)}; it is of {list(state['estimators'])}.")
        for name, one in self.estimators.items():
            if hasattr(one, "state"):
                one.restore(state["estimators"][name])
        self._refreshed = state["refreshed"]


def _names(two_pass: bool | Collection[str], estimators: Mapping[str, Estimator]) -> set[str]:
    """Those that are measured by the authors' form too."""
    if isinstance(two_pass, bool):
        return set(estimators) if two_pass else set()
    if isinstance(two_pass, str) or not isinstance(two_pass, Collection):
        raise InvalidInput(f"two_pass must be True, False or a list of names; {two_pass!r} came.")
    if unknown := [name for name in two_pass if name not in estimators]:
        raise InvalidInput(
            f"two_pass must name estimators that are measured, {', '.join(estimators)}; {', '.join(map(str, unknown))} came."
        )
    return set(two_pass)


def _fits(estimator: SVRG | GradientClustering, snapshot: Snapshot) -> bool:
    """Whether what it was refreshed on last is this model, and what else matters to it."""
    try:
        estimator.check(snapshot.model, snapshot.loss, snapshot.x, snapshot.y)
    except InvalidInput:
        return False
    return True
