"""Gradient clustering with factored centres: each step is one pass over the factors of the per-example gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sgdscope.errors import unknown_name
from sgdscope.estimators.checks import check_generator
from sgdscope.estimators.lloyd import check_outside, check_start
from sgdscope.estimators.network import NetworkCentres
from sgdscope.estimators.partition import Assigner, Clustering, check_fits, check_options, refill_empty
from sgdscope.gradients import PerExampleGradients


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
    outside: Tensor | None = None,
    centres: NetworkCentres | None = None,
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
        outside: as for `weighted_lloyd`.
        centres: takes the place of ``parameters``, ``rule`` and ``rank``, and is left with the centres of the result. If it has centres already,
            they serve the first assignment instead of those of the start, which saves a pass; the start then gives the sizes.
        refill: as for `weighted_lloyd`.
        pass_batch: likewise.
        generator: likewise.

    Raises:
        InvalidInput: K below 1 or above N, a rank that the rule does not have.
        NotFound: an unknown option or parameter.
    """
    check_options(sizes=sizes, refill=refill, num_clusters=num_clusters, steps=steps, pass_batch=pass_batch)
    check_generator(generator)
    every = gradients(None)
    number = len(every)
    for name in parameters or ():
        if name not in every.names:
            raise unknown_name("parameter", name, every.names)
    if centres is None:
        centres = NetworkCentres(num_clusters, every.names if parameters is None else parameters, rule=rule, rank=rank)
    outside = check_outside(outside, start, num_clusters, every.device)
    check_fits(num_clusters, number + int(outside.sum()))
    made = centres.counts is not None
    if start is None:
        first = torch.randperm(number, generator=generator, device=generator.device)[:num_clusters].to(every.device)
        alone = torch.arange(num_clusters, device=every.device)
        centres.add(gradients(first), alone)
        assignment, last = None, torch.ones_like(alone)
    else:
        assignment = check_start(start, number, num_clusters).to(every.device)
        if not made:
            centres.add(every, assignment)
        last = torch.bincount(assignment, minlength=num_clusters)
    objective, empty, collapsed, converged, norms = [], [], False, False, None
    for _ in range(steps):
        if made:  # by mini-batches: also clusters without members here have a centre
            alive, made = (centres.counts > 0) & (last + outside > 0), False
        else:
            centres.update(last)
            alive = last > 0
        before, assigner = assignment, Assigner(sizes, last, alive, pass_batch, outside)
        assignment, near, norms = centres.step(every, assigner, norms)
        last = torch.bincount(assignment, minlength=num_clusters)
        empty.append(int((last + outside == 0).sum()))
        collapsed |= empty[-1] == num_clusters - 1 > 0
        objective.append(float((last[assignment] * near.double()).sum()))
        changed = refill_empty(assignment, near, num_clusters, refill, generator, outside)
        if changed:
            clusters = torch.tensor(changed, device=every.device)
            members = torch.isin(assignment, clusters).nonzero()[:, 0]
            centres.forget(clusters)
            centres.add(gradients(members), assignment[members])
            last = torch.bincount(assignment, minlength=num_clusters)
        converged = sizes != "running" and before is not None and torch.equal(before, assignment)
        if converged:
            break
    centres.update(last)
    return Clustering(assignment, last, tuple(objective), tuple(empty), collapsed, converged)
