"""Gradient clustering with factored centres: each step is one pass over the factors of the per-example gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.estimators.centres import RULES, Centres, centres_for
from sgdscope.estimators.checks import check_generator, check_whole
from sgdscope.estimators.lloyd import check_start
from sgdscope.estimators.partition import Assigner, Clustering, check_options, refill_empty
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.factors import Factor


def factored_lloyd(
    gradients: Callable[[Tensor | None], PerExampleGradients],
    num_clusters: int,
    *,
    parameters: Sequence[str] | None = None,
    rule: str = "mean",
    rank: int = 1,
    steps: int = 3,
    sizes: str = "running",
    start: Tensor | None = None,
    refill: str = "all",
    pass_batch: int = 32,
    generator: torch.Generator,
) -> Clustering:
    """`weighted_lloyd` with centres ``C_k = sum_r d_kr c_kr^T`` a layer (Faghri et al. 2020, Sec. 3.2 and Fig. 2, Algorithms 1 to 3).

    Squared distances add up over parameters before the N_k weight. One pass a step assigns by the centres of the step before and takes the
    sums of the next; the authors' code makes two. A step that refills a cluster computes the members of the clusters that changed again.
    The objective of the result is that of the distances to the centres that the assignment took, in squares of the loss.

    Args:
        gradients: of all examples for None, of some for a tensor of indices; ``form="factored"``. All at the same parameters.
        num_clusters: K.
        parameters: names of those that take part; all by default.
        rule: ``mean`` (Eq. 6) or ``svd``, the centres of the weights of linear layers and convolutions; see `FactoredCentres`.
        rank: r, of ``svd``.
        steps: passes; one more over a start.
        sizes: as for `weighted_lloyd`; ``running`` takes the examples in their order.
        start: (N,) a first partition; by default K random examples are the first centres.
        refill: as for `weighted_lloyd`.
        pass_batch: likewise.
        generator: likewise.

    Raises:
        InvalidInput: K below 1 or above N, a rank that the rule does not have.
        NotFound: an unknown option or parameter.
    """
    check_options(sizes, refill)
    check_generator(generator)
    if rule not in RULES:
        raise unknown_name("rule", str(rule), RULES)
    for name, value in (("num_clusters", num_clusters), ("steps", steps), ("pass_batch", pass_batch), ("rank", rank)):
        check_whole(name, value)
    if rule == "mean" and rank != 1:
        raise InvalidInput(f"rule 'mean' has rank 1; rank {rank} came. Use rule 'svd'.")
    every = gradients(None)
    number = len(every)
    if num_clusters > number:
        raise InvalidInput(f"num_clusters must be at most the number of examples; {num_clusters} came for {number}.")
    for name in parameters or ():
        if name not in every.names:
            raise unknown_name("parameter", name, every.names)
    model = _Model(num_clusters, every.names if parameters is None else parameters, rule, rank)
    if start is None:
        first = torch.randperm(number, generator=generator, device=generator.device)[:num_clusters].to(every.device)
        alone = torch.arange(num_clusters, device=every.device)
        model.add(gradients(first), alone)
        assignment, last = None, torch.ones_like(alone)
    else:
        assignment = check_start(start, number, num_clusters).to(every.device)
        model.add(every, assignment)
        last = torch.bincount(assignment, minlength=num_clusters)
    objective, empty, collapsed, converged, norms = [], [], False, False, None
    for _ in range(steps):
        model.update(last)
        before, assigner = assignment, Assigner(sizes, last, last > 0, pass_batch)
        assignment, near, norms = model.step(every, assigner, norms)
        last = torch.bincount(assignment, minlength=num_clusters)
        empty.append(int((last == 0).sum()))
        collapsed |= empty[-1] == num_clusters - 1 > 0
        objective.append(float((last[assignment] * near.double()).sum()))
        changed = refill_empty(assignment, near, num_clusters, refill, generator)
        if changed:
            clusters = torch.tensor(changed, device=every.device)
            members = torch.isin(assignment, clusters).nonzero()[:, 0]
            model.forget(clusters)
            model.add(gradients(members), assignment[members])
            last = torch.bincount(assignment, minlength=num_clusters)
        converged = sizes != "running" and before is not None and torch.equal(before, assignment)
        if converged:
            break
    return Clustering(assignment, last, tuple(objective), tuple(empty), collapsed, converged)


class _Model:
    """Centres of all parameters that take part."""

    def __init__(self, num_clusters: int, names: Sequence[str], rule: str, rank: int):
        self.num_clusters, self.names, self.rule, self.rank = num_clusters, set(names), rule, rank
        self.centres: dict[str, Centres] = {}

    def _mine(self, factors: dict[str, Factor]) -> list[tuple[Centres, Factor]]:
        found = []
        for name, factor in factors.items():
            if name not in self.names:
                continue
            if name not in self.centres:
                self.centres[name] = centres_for(factor, self.num_clusters, self.rule, self.rank)
            found.append((self.centres[name], factor))
        if not found:
            raise InvalidInput(f"the loss must depend on some of the parameters chosen; it uses none of {', '.join(sorted(self.names))}.")
        return found

    def add(self, gradients: PerExampleGradients, assignment: Tensor) -> None:
        """Sums for a given assignment (Algorithm 3)."""
        for place, factors in gradients.factors():
            for centres, factor in self._mine(factors):
                centres.add(factor, assignment[place])

    def forget(self, clusters: Tensor) -> None:
        for centres in self.centres.values():
            centres.forget(clusters)

    def update(self, sizes: Tensor) -> None:
        for centres in self.centres.values():
            centres.update(sizes)

    def step(self, gradients: PerExampleGradients, assigner: Assigner, norms: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Assignment (N,), squared distances (N,) to the centres taken, and the squared lengths (N,) of the gradients (Algorithm 1, and 3)."""
        known = norms is not None
        if not known:
            norms = torch.zeros(len(gradients), dtype=gradients.dtype, device=gradients.device)
        assignment = torch.empty(len(gradients), dtype=torch.int64, device=gradients.device)
        near = torch.empty_like(norms)
        lengths = sum(centres.squared_norms() for centres in self.centres.values())  # (K,)
        for place, factors in gradients.factors():
            mine = self._mine(factors)
            if not known:
                norms[place] = sum(factor.squared_norms() for _, factor in mine)
            products = sum(centres.inner(factor) for centres, factor in mine)  # (n, K)
            distances = products.mul_(-2).add_(lengths).add_(norms[place, None]).clamp_(min=0)
            assignment[place] = found = assigner.assign(distances)
            near[place] = distances.gather(1, found[:, None])[:, 0]
            for centres, factor in mine:
                centres.add(factor, found)
        return assignment, near, norms
