"""Weighted k-means of per-example gradients from their Gram matrix: exact centres, and no d-dimensional vector anywhere.

With centres ``C_k = (1/N_k) sum_{i in k} g_i`` all that an assignment needs is in inner products P = G G^T:
``|C_k - g_i|^2 = P_ii - (2/N_k) sum_{j in k} P_ij + N_k^-2 sum_{j, l in k} P_jl``; a step takes N^2 + N K additions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.estimators.checks import check_generator
from sgdscope.estimators.partition import Assigner, Clustering, check_fits, check_options, refill_empty


def weighted_lloyd(
    gram: Tensor,
    num_clusters: int,
    *,
    steps: int = 10,
    sizes: str = "running",
    start: Tensor | None = None,
    outside: Tensor | None = None,
    refill: str = "all",
    pass_batch: int = 32,
    generator: torch.Generator,
) -> Clustering:
    """Alternates assignment (Eq. 3), sizes and update (Eq. 4) of Faghri et al. (2020, Sec. 3.1) on inner products.

    Lowers ``sum_k N_k sum_{i in k} |C_k - g_i|^2`` (Eq. 2) as a rule, not always: gradients 0, 1, 2, 4 in one dimension go from 24 to 26, see the
    example. With ``previous`` sizes, those of Eq. 3, small clusters draw nearly all examples and large ones lose theirs, and the next step
    turns that round. On an MLP 784-100-10 (2,000 examples of FashionMNIST, K = 64, 0, 50 and 600 steps of training, one seed) 25 to 63 clusters were
    empty at each assignment but the first, and the partition left 0.5 to 1.0 of the variance of a mini-batch of K (10 to 27 times it
    where one empty cluster a step is refilled). ``running`` counts, the default, left 0.15 to 0.28, plain k-means 0.16 to 0.42.

    Args:
        gram: (N, N) inner products, symmetric.
        num_clusters: K, from 1 to N.
        steps: most assignments.
        sizes: which N_k weigh the distances: ``running`` (authors' code; examples in a random order), ``previous`` (paper) or ``none`` (k-means).
        start: (N,) a first partition, whose centres the first assignment takes; by default K random examples are the first centres and weigh 1 each.
        outside: (K,) how many examples that do not take part are in each cluster, where ``gram`` is of a part of the data: they count in the
            sizes, not in the centres. Needs a start. A cluster without members in the part gets none.
        refill: ``all``, ``one`` or ``none`` of the empty clusters at each step; see `refill_empty`.
        pass_batch: after how many examples ``running`` counts are brought up to date; 128 in the authors' code, which left twice to four
            times the objective of 1 to 32 in a test with N = 400 and K = 20 (with N at most that, a pass is plain k-means).
        generator: of the first centres, the refills, and the order of ``running``.

    Raises:
        InvalidInput: K below 1 or above N, a Gram matrix that is not square or not finite, a start that is no partition into K clusters, sizes
            ``outside`` that are not K or come without a start.
        NotFound: an unknown option.

    >>> g = torch.tensor([0.0, 1.0, 2.0, 4.0])
    >>> from_24 = torch.tensor([0, 1, 0, 0])
    >>> found = weighted_lloyd(torch.outer(g, g), 2, steps=1, sizes="previous", start=from_24, generator=torch.Generator())
    >>> found.assignment, found.objective
    (tensor([1, 1, 0, 1]), (26.0,))
    """
    check_options(sizes=sizes, refill=refill, num_clusters=num_clusters, steps=steps, pass_batch=pass_batch)
    check_generator(generator)
    number = _check_gram(gram)
    outside = check_outside(outside, start, num_clusters, gram.device)
    check_fits(num_clusters, number + int(outside.sum()))
    diagonal = gram.diagonal()
    if start is None:
        first = torch.randperm(number, generator=generator, device=generator.device)[:num_clusters].to(gram.device)
        assignment, last = None, torch.ones(num_clusters, dtype=torch.int64, device=gram.device)
        distances = diagonal - 2 * gram[first] + diagonal[first, None]  # (K, N)
    else:
        assignment = check_start(start, number, num_clusters).to(gram.device)
        distances, last, _ = _distances(gram, assignment, num_clusters)
    objective, empty, collapsed, converged = [], [], False, False
    for _ in range(steps):
        before, assigner = assignment, Assigner(sizes, last, last > 0, pass_batch, outside)
        order = slice(None)
        if sizes == "running":
            order = torch.randperm(number, generator=generator, device=generator.device).to(gram.device)
        assignment = torch.empty(number, dtype=torch.int64, device=gram.device)
        assignment[order] = assigner.assign(distances.T[order])
        held = int((torch.bincount(assignment, minlength=num_clusters) + outside > 0).sum())
        empty.append(num_clusters - held)
        collapsed |= held == 1 < num_clusters
        refill_empty(assignment, distances.gather(0, assignment[None])[0], num_clusters, refill, generator, outside)
        distances, last, value = _distances(gram, assignment, num_clusters)
        objective.append(value)
        converged = sizes != "running" and before is not None and torch.equal(before, assignment)
        if converged:
            break
    return Clustering(assignment, last, tuple(objective), tuple(empty), collapsed, converged)


def partition_objective(gram: Tensor, assignment: Tensor) -> float:
    """``sum_k N_k sum_{i in k} |C_k - g_i|^2`` (Eq. 2) of a partition (N,) with its exact centres, from inner products (N, N).

    ``N^2`` times the trace of the covariance of the stratified estimate (Prop. 3.1).

    >>> g = torch.tensor([0.0, 1.0, 2.0, 4.0])
    >>> partition_objective(torch.outer(g, g), torch.tensor([0, 1, 0, 0]))
    24.0
    """
    _check_gram(gram)
    _, of = assignment.to(gram.device).unique(return_inverse=True)
    return _distances(gram, of, int(of.max()) + 1)[2]


def check_start(start: Tensor, number: int, num_clusters: int) -> Tensor:
    """A first partition, if it is one.

    Raises:
        InvalidInput: it is not.
    """
    right = isinstance(start, Tensor) and start.shape == (number,) and not start.is_floating_point()
    if not right or start.min() < 0 or start.max() >= num_clusters:
        came = f"{tuple(start.shape)} of {start.dtype}" if isinstance(start, Tensor) else type(start).__name__
        came += f", values {int(start.min())} to {int(start.max())}" if right else ""
        raise InvalidInput(
            f"start must be ({number},) whole numbers from 0 to {num_clusters - 1}, a cluster for each example; {came} came."
        )
    return start.long().clone()


def check_outside(outside: Tensor | None, start: Tensor | None, num_clusters: int, device: torch.device) -> Tensor:
    """Sizes (K,) outside of the part that is clustered, zeros where all take part.

    Raises:
        InvalidInput: they are not K whole numbers, or there is no start.
    """
    if outside is None:
        return torch.zeros(num_clusters, dtype=torch.int64, device=device)
    if not isinstance(outside, Tensor) or outside.shape != (num_clusters,) or outside.is_floating_point() or outside.min() < 0:
        came = f"{tuple(outside.shape)} of {outside.dtype}" if isinstance(outside, Tensor) else type(outside).__name__
        raise InvalidInput(f"outside must be ({num_clusters},) sizes of clusters, none below 0; {came} came.")
    if start is None:
        raise InvalidInput("a part of the data has clusters already; outside came without a start. Pass the clusters of the part as start.")
    return outside.to(device)


def _distances(gram: Tensor, assignment: Tensor, num_clusters: int) -> tuple[Tensor, Tensor, float]:
    """Squared distances (K, N) to the centres of a partition, its sizes (K,) and its objective. Distances to an empty cluster mean nothing."""
    sizes = torch.bincount(assignment, minlength=num_clusters)
    sums = torch.zeros(num_clusters, len(gram), dtype=gram.dtype, device=gram.device).index_add_(0, assignment, gram)  # sum_{j in k} P_ji
    zero = torch.zeros(num_clusters, dtype=torch.float64, device=gram.device)
    own = zero.index_add(0, assignment, sums.gather(0, assignment[None])[0].double())  # sum_{j, l in k} P_jl
    squares = zero.index_add(0, assignment, gram.diagonal().double())
    objective = float((sizes * squares - own).clamp(min=0).sum())
    count = sizes.clamp(min=1)
    distances = sums.mul_((-2 / count).to(gram.dtype)[:, None]).add_((own / count.square()).to(gram.dtype)[:, None]).add_(gram.diagonal())
    return distances.clamp_(min=0), sizes, objective


def _check_gram(gram: object) -> int:
    if not isinstance(gram, Tensor) or gram.dim() != 2 or gram.shape[0] != gram.shape[1] or not len(gram) or not gram.is_floating_point():
        came = f"{tuple(gram.shape)} of {gram.dtype}" if isinstance(gram, Tensor) else type(gram).__name__
        raise InvalidInput(f"gram must be a tensor (N, N) of inner products; {came} came. PerExampleGradients.gram() gives it.")
    if not torch.isfinite(gram).all():
        raise InvalidInput("gram must be finite; it holds NaN or infinite values. Has the training diverged?")
    return len(gram)
