"""Variance of several gradient estimators along one trajectory: Faghri et al. (2020, Sec. 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.estimators import SVRG, GradientClustering, gradient_variance
from sgdscope.estimators.sampled import Sampled
from sgdscope.gradients.budget import MEMORY
from sgdscope.probes.probe import Measured, Probe, whole
from sgdscope.training import Snapshot, When, due, measuring


class EstimatorVariance(Probe):
    """Average and normalised variance of each estimator at a snapshot, in eval mode; refreshes the estimators where that is due.

    Each estimator draws from a stream of its own, made from the seed, its name and the step, so that the numbers of one do not depend on which
    others are measured. At a refresh it is measured twice where it keeps anything: just before, with what it was refreshed on last,
    and right after. Nothing is measured of any before the first refresh. Variances scale with the square of the loss.

    Measures (with the estimator's name before each):
        average: ``(1/d) tr Cov``; of the d trainable parameters, over ``repeats`` estimates, unbiased.
        normalised: ratio of totals of variance and second moment, from the same draws (paper: V[g] / E[g^2]).
        normalised_mean: mean over coordinates of that ratio.
        guarded, unguarded: the authors' two-pass form with and without its 1e-7; ``two_pass`` only.
        average_two_pass: their variance, in expectation ``1 + 1/R`` times the average; ``two_pass`` only.
        rescaled_0, rescaled_1, ...: their form with all gradients rescaled to the variances ``rescaled_to``; ``two_pass`` only.
        age: steps since the last refresh.
        before_average, before_normalised: of SVRG and GC where refreshed at this step and before, the same just before.
    Of gradient clustering also:
        clusters: how many hold an example.
        largest: share of the examples in the largest.
        collapsed: 1 if an assignment of this step's refresh put all examples into one cluster, else 0; objective: of that refresh (Eq. 2).

    Args:
        estimators: name to estimator. Their state goes into the recorder's.
        refresh: at which steps to refresh all of them: the clusters of GC, the snapshot of SVRG.
        repeats: R; the paper takes 50, and 10 on ImageNet.
        two_pass: names of those measured by the authors' form too, at twice the cost; all by default.
        rescaled_to: variances for ``rescaled``.
        seed: of all streams.
        generator: from which everything is drawn instead, in the order of the estimators: the authors' protocol has one generator for
            measurements and training. It must be saved with the training then.
        memory: bytes of work of a measurement.

    Raises:
        InvalidInput: no estimators, or something else in their place; a name under ``two_pass`` that is none of theirs.
    """

    def __init__(
        self,
        estimators: Mapping[str, Sampled],
        *,
        refresh: When,
        repeats: int = 50,
        two_pass: Collection[str] | None = None,
        rescaled_to: Sequence[float] = (),
        seed: int = 0,
        generator: torch.Generator | None = None,
        memory: int = MEMORY,
    ) -> None:
        if not estimators or not all(isinstance(one, Sampled) for one in estimators.values()):
            raise InvalidInput(f"estimators must be estimators of sgdscope.estimators by name, at least one; {estimators!r} came.")
        whole("repeats", repeats, 2)
        self.estimators, self.refresh, self.repeats, self.seed = dict(estimators), refresh, repeats, seed
        self.two_pass = set(estimators if two_pass is None else two_pass)
        if unknown := sorted(self.two_pass - set(estimators)):
            raise InvalidInput(f"two_pass must name estimators that are measured, {', '.join(estimators)}; {', '.join(unknown)} came.")
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
                    found |= self._refresh(name, estimator, snapshot, first)
                found |= self._variance(name, estimator, snapshot) | {f"{name}_age": age}
        if again:
            self._refreshed = snapshot.step
        return found

    def _refresh(self, name: str, estimator: Sampled, snapshot: Snapshot, first: bool) -> Measured:
        found: Measured = {}
        point = (snapshot.model, snapshot.loss, snapshot.x, snapshot.y)
        if not first and isinstance(estimator, SVRG | GradientClustering):  # the others keep nothing
            stale = gradient_variance(
                estimator,
                *point,
                repeats=self.repeats,
                two_pass=False,
                memory=self.memory,
                generator=self._stream(name, "before", snapshot),
            )
            found = {f"{name}_before_average": stale.average, f"{name}_before_normalised": stale.normalised}
        estimator.refresh(*point, generator=self._stream(name, "refresh", snapshot))
        if isinstance(estimator, GradientClustering):
            found[f"{name}_collapsed"] = estimator.clustering.collapsed
            found[f"{name}_objective"] = estimator.clustering.objective[-1]
        return found

    def _variance(self, name: str, estimator: Sampled, snapshot: Snapshot) -> Measured:
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
        return {"refreshed": self._refreshed, "estimators": {name: one.state() for name, one in self.estimators.items()}}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`.

        Raises:
            InvalidInput: it is of other estimators.
        """
        if list(state["estimators"]) != list(self.estimators):
            raise InvalidInput(f"the state must be of the estimators {list(self.estimators)}; it is of {list(state['estimators'])}.")
        for name, one in self.estimators.items():
            one.restore(state["estimators"][name])
        self._refreshed = state["refreshed"]
