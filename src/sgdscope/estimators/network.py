"""Centres of the gradients of a whole network, parameter by parameter: assignment and update steps of Fig. 2 in Faghri et al. (2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.estimators.centres import RULES, Centres, centres_for
from sgdscope.estimators.partition import Assigner
from sgdscope.estimators.selection import check_used
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.factors import Factor


class NetworkCentres:
    """K centres of all parameters that take part, and how many gradients each is made of.

    Args:
        num_clusters: K.
        parameters: names of those that take part.
        rule: ``mean`` (Eq. 6) or ``svd``; see `FactoredCentres`.
        rank: of ``svd``.

    Attributes:
        counts: (K,) float64, gradients in each centre, forgotten ones left out; 0 where there is no centre. None before the first `update`.

    Raises:
        InvalidInput: a rank that the rule does not have.
        NotFound: an unknown rule.
    """

    def __init__(self, num_clusters: int, parameters: Sequence[str], *, rule: str = "mean", rank: int = 1):
        if rule not in RULES:
            raise unknown_name("rule", str(rule), RULES)
        whole("rank", rank)
        if rule == "mean" and rank != 1:
            raise InvalidInput(f"rule 'mean' has rank 1; rank {rank} came. Use rule 'svd'.")
        self.num_clusters, self.names, self.rule, self.rank = num_clusters, set(parameters), rule, rank
        self.centres: dict[str, Centres] = {}
        self.counts: Tensor | None = None
        self._restored: dict[str, dict[str, Tensor]] = {}

    def _mine(self, factors: dict[str, Factor]) -> list[tuple[Centres, Factor]]:
        found = []
        for name, factor in factors.items():
            if name not in self.names:
                continue
            if name not in self.centres:
                self.centres[name] = centres_for(factor, self.num_clusters, self.rule, self.rank)
                self.centres[name].take_up(self._restored.pop(name, {}))
            found.append((self.centres[name], factor))
        check_used(self.names, factors)
        return found

    def add(self, gradients: PerExampleGradients, assignment: Tensor) -> None:
        """Sums for a given assignment (Algorithm 3)."""
        for place, factors in gradients.factors():
            for centres, factor in self._mine(factors):
                centres.add(factor, assignment[place])

    def forget(self, clusters: Tensor) -> None:
        """Sets the sums of some clusters to zero."""
        for centres in self.centres.values():
            centres.forget(clusters)

    def update(self, sizes: Tensor) -> None:
        """Centres from the sums of ``sizes`` (K,) examples; a cluster without any keeps its centre."""
        for centres in self.centres.values():
            centres.update(sizes)
        counts = torch.zeros_like(sizes, dtype=torch.float64) if self.counts is None else self.counts.to(sizes.device)
        self.counts = torch.where(sizes > 0, sizes.double(), counts)

    def move(self, gradients: PerExampleGradients, assignment: Tensor, *, keep: float = 1.0) -> None:
        """Moves the centres by a mini-batch: running means with counts v_k, as in mini-batch k-means (Sculley 2010), that forget.

        ``C_k <- (keep v_k C_k + sum_{i in k} g_i) / (keep v_k + n_k)`` for the n_k > 0 examples of the batch in cluster k, ``v_k <- keep v_k + n_k``;
        both factors for the rule ``mean``, the truncated sum for ``svd``. ``keep = 1`` averages over all gradients seen since the centres were
        made, 0 takes the mean of the batch. A cluster without examples in the batch stays as it is.
        """
        given = torch.bincount(assignment, minlength=self.num_clusters).double()
        kept = keep * self.counts.to(assignment.device)
        for place, factors in gradients.factors():
            for centres, factor in self._mine(factors):
                if place.start == 0:
                    centres.carry(kept)
                centres.add(factor, assignment[place])
        self.update(torch.where(given > 0, kept + given, 0.0))

    def step(self, gradients: PerExampleGradients, assigner: Assigner, norms: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Assignment (N,), squared distances (N,) to the centres taken, and the squared lengths (N,) of the gradients (Algorithm 1, and 3)."""
        return self._pass(gradients, assigner, norms, add=True)

    def assign(self, gradients: PerExampleGradients, assigner: Assigner) -> Tensor:
        """(N,) clusters by the present centres (Algorithm 1 alone)."""
        return self._pass(gradients, assigner, None, add=False)[0]

    def distances(self, gradients: PerExampleGradients) -> Tensor:
        """(N, K) squared distances, added up over the parameters, before any weight."""
        return torch.cat([found for _, _, found, _ in self._distances(gradients, None)])

    def _distances(self, gradients: PerExampleGradients, norms: Tensor | None) -> Iterator[tuple[slice, list, Tensor, Tensor]]:
        """Place, centres with factors, squared distances (n, K) and squared lengths (n,), chunk by chunk."""
        lengths = None
        for place, factors in gradients.factors():
            mine = self._mine(factors)
            if lengths is None:
                lengths = sum(centres.squared_norms() for centres in self.centres.values())  # (K,)
            own = sum(factor.squared_norms() for _, factor in mine) if norms is None else norms[place]
            products = sum(centres.inner(factor) for centres, factor in mine)  # (n, K)
            yield place, mine, products.mul_(-2).add_(lengths).add_(own[:, None]).clamp_(min=0), own

    def _pass(self, gradients: PerExampleGradients, assigner: Assigner, norms: Tensor | None, add: bool) -> tuple[Tensor, Tensor, Tensor]:
        assignment = torch.empty(len(gradients), dtype=torch.int64, device=gradients.device)
        near, squares = (torch.empty(len(gradients), dtype=gradients.dtype, device=gradients.device) for _ in range(2))
        for place, mine, distances, own in self._distances(gradients, norms):
            squares[place] = own
            assignment[place] = found = assigner.assign(distances)
            near[place] = distances.gather(1, found[:, None])[:, 0]
            for centres, factor in mine if add else ():
                centres.add(factor, found)
        return assignment, near, squares

    def state(self) -> dict[str, object]:
        """Centres and counts."""
        found = self._restored | {name: centres.state() for name, centres in self.centres.items()}
        return {"parameters": sorted(self.names), "centres": found, "counts": self.counts}

    def restore(self, state: dict[str, object]) -> None:
        """Take up a `state` of the same parameters, rule and rank; the centres go to the device of the gradients when these come."""
        self.centres, self._restored, self.counts = {}, dict(state["centres"]), state["counts"]
