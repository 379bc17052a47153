"""What all forms of gradient clustering share: the assignment with its weights, the refill of empty clusters, and the result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name, whole

SIZES = ("previous", "running", "none")
REFILLS = ("all", "one", "none")


@dataclass(frozen=True)
class Clustering:
    """A partition of N examples into at most K clusters.

    Attributes:
        assignment: (N,) cluster of each example.
        sizes: (K,) ``N_k``; 0 for a cluster that stayed empty.
        objective: after each step ``sum_k N_k sum_{i in k} |C_k - g_i|^2`` (Eq. 2). With exact centres it is ``N^2`` times the trace of the
            covariance of the stratified estimate, over the coordinates that were clustered (all but those that ``layers`` or ``biases`` leave
            out). It need not fall. Scales with the square of the loss. Where only a part of the data took part it is that of the part by itself.
        empty: after each assignment, before the refill, how many clusters held nothing.
        collapsed: whether some assignment put all examples into one cluster though K > 1.
        converged: whether the last step changed nothing, so that no further one was made. Never with ``sizes="running"``: all steps are made,
            also where the last ones change nothing, for each may draw a new order.
    """

    assignment: Tensor
    sizes: Tensor
    objective: tuple[float, ...]
    empty: tuple[int, ...]
    collapsed: bool
    converged: bool


class Assigner:
    """``a_i = argmin_k w_k |C_k - g_i|^2`` (Eq. 3), the examples in the order in which they come.

    ``previous``: w_k is the size of cluster k after the last assignment, as in the paper. ``running``: w_k is one more than the number of
    examples given to k so far in this pass, brought up to date after every ``batch`` examples, as in the authors' code (which balances the sizes).
    ``none``: w_k = 1, plain k-means. Clusters that are not ``alive`` get nothing. Where a part of the data is assigned, ``outside`` (K,) are
    the sizes of the rest: they add to those of the last assignment, and the running counts begin with them.
    """

    def __init__(self, sizes: str, last: Tensor, alive: Tensor, batch: int, outside: Tensor | None = None):
        self.sizes, self.alive, self.batch = sizes, alive, batch
        self._given, self._seen = torch.zeros_like(last) if outside is None else outside.clone(), 0
        self.weights = {"previous": last + self._given, "running": self._given + 1, "none": torch.ones_like(last)}[sizes]  # (K,)

    def assign(self, distances: Tensor) -> Tensor:
        """(n,) clusters for squared distances (n, K)."""
        if self.sizes != "running":
            return self._cheapest(distances)
        parts, start = [], 0
        while start < len(distances):
            stop = min(len(distances), start + self.batch - self._seen % self.batch)
            found = self._cheapest(distances[start:stop])
            self._given += torch.bincount(found, minlength=len(self._given))
            self._seen += stop - start
            if self._seen % self.batch == 0:
                self.weights = self._given + 1
            parts.append(found)
            start = stop
        return torch.cat(parts)

    def _cheapest(self, distances: Tensor) -> Tensor:
        return (distances * self.weights.to(distances.dtype)).masked_fill_(~self.alive, torch.inf).argmin(1)


def check_options(*, sizes: str, refill: str, **numbers: object) -> None:
    """Refuses unknown names, and numbers (named K, steps, ...) that are not whole or below 1.

    Raises:
        InvalidInput: such a number.
        NotFound: one of the names.
    """
    for name, value in numbers.items():
        whole(name, value)
    if sizes not in SIZES:
        raise unknown_name("sizes", str(sizes), SIZES)
    if refill not in REFILLS:
        raise unknown_name("refill", str(refill), REFILLS)


def check_fits(num_clusters: int, number: int) -> None:
    """Refuses more clusters than examples.

    Raises:
        InvalidInput: there are.
    """
    if num_clusters > number:
        raise InvalidInput(
            f"num_clusters must be at most the number of examples; {num_clusters} came for {number}. Take fewer clusters or more examples."
        )


def refill_empty(
    assignment: Tensor, distances: Tensor, num_clusters: int, rule: str, generator: torch.Generator, outside: Tensor | None = None
) -> list[int]:
    """Moves examples into empty clusters, in place, and returns all clusters that changed.

    The authors' rule: a random half of the cluster with the largest ``N_k sum_{i in k} |C_k - g_i|^2`` moves to an empty one. ``one`` mends one empty
    cluster a step, as their code does; ``all`` goes on until none is empty, the distances to the old centre standing for those to the new ones.
    Clusters of one example, or without any distance, are not split; what cannot be filled stays empty. A cluster with members ``outside`` (K,) of
    the part that is assigned is not empty.
    """
    sizes = torch.bincount(assignment, minlength=num_clusters)
    empty = ((sizes if outside is None else sizes + outside) == 0).nonzero()[:, 0].tolist()[: {"all": None, "one": 1, "none": 0}[rule]]
    if not empty:
        return []
    spread = torch.zeros(num_clusters, dtype=torch.float64, device=assignment.device).index_add_(0, assignment, distances.double())
    changed = []
    for cluster in empty:
        cost = torch.where(sizes > 1, sizes * spread, 0.0)
        largest = int(cost.argmax())
        if cost[largest] <= 0:
            break
        members = (assignment == largest).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator, device=generator.device).to(members.device)
        moved = members[order[: len(members) // 2]]
        assignment[moved] = cluster
        for k in (largest, cluster):
            of = assignment == k
            sizes[k], spread[k] = of.sum(), distances[of].double().sum()
        changed += [largest, cluster]
    return sorted(set(changed))
