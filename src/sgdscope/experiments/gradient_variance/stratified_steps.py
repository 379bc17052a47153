"""Runs of gradient_variance/01_stratified about Eq. 2 to 4 on small sets: steps that raise the objective, and best partitions by trying all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement, product

import pandas as pd
import torch
from torch import Tensor

from sgdscope.experiments.gradient_variance.stratified_small import gradients, small_network, small_set
from sgdscope.runs import Result, run


@dataclass(frozen=True)
class CounterExamples:
    """Exact steps from all partitions of all small sets of whole numbers."""

    num_gradients: int
    largest: int  # the numbers are 0 to this, with 0 among them: a shift changes nothing


@run(version=1)
def search_counter_examples(config: CounterExamples) -> Result:
    """One row for each K: steps tried, those that raise the objective, with and without emptying a cluster, and an example of both kinds.

    Where two clusters cost an example the same, both choices are tried. The example is the narrowest set without such a choice, if there is one.
    """
    found = []
    for clusters in range(2, config.num_gradients + 1):
        tried, raised = 0, {"emptied": [], "kept": []}
        for rest in combinations_with_replacement(range(config.largest + 1), config.num_gradients - 1):
            numbers = (0, *rest)
            for start in _canonical(config.num_gradients, clusters):
                before = objective(numbers, start)
                ends = list(steps(numbers, start))
                for after in ends:
                    tried += 1
                    value = objective(numbers, after)
                    if value > before:
                        kind = "kept" if len(set(after)) == clusters else "emptied"
                        raised[kind].append((len(ends) > 1, rest[-1], numbers, start, after, before, value))
        row = {"num_clusters": clusters, "tried": tried}
        for kind, cases in raised.items():
            tied, _, numbers, start, after, before, value = min(cases, default=(False, 0, (), (), (), -1, -1))
            row |= {f"raised_{kind}": len(cases), f"tied_{kind}": tied, f"numbers_{kind}": " ".join(map(str, numbers))}
            row |= {f"start_{kind}": _sets(numbers, start), f"end_{kind}": _sets(numbers, after)}
            row |= {f"before_{kind}": before, f"after_{kind}": value}
        found.append(row)
    return Result(pd.DataFrame(found))


def objective(numbers: tuple[int, ...], assignment: tuple[int, ...]) -> int:
    """``sum_k N_k sum_{i in k} (C_k - g_i)^2 = sum_k N_k sum g^2 - (sum g)^2``, exactly."""
    total = 0
    for k in set(assignment):
        members = [g for g, a in zip(numbers, assignment, strict=True) if a == k]
        total += len(members) * sum(g * g for g in members) - sum(members) ** 2
    return total


def steps(numbers: tuple[int, ...], start: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All assignments that Eq. 3 allows, with the sizes and centres of ``start``; several where costs are equal."""
    members = {k: [g for g, a in zip(numbers, start, strict=True) if a == k] for k in set(start)}
    choices = []
    for g in numbers:
        cost = {k: Fraction((sum(found) - len(found) * g) ** 2, len(found)) for k, found in members.items()}
        choices.append([k for k, value in cost.items() if value == min(cost.values())])
    yield from product(*choices)


def _canonical(number: int, clusters: int) -> Iterator[tuple[int, ...]]:
    """Every partition into exactly so many sets once: labels in the order of their first appearance."""
    for labels in product(range(clusters), repeat=number):
        seen = list(dict.fromkeys(labels))
        if seen == list(range(clusters)):
            yield labels


def _sets(numbers: tuple[int, ...], assignment: tuple[int, ...]) -> str:
    """``{0, 2, 4} {1}``."""
    return " ".join(
        "{" + ", ".join(str(g) for g, a in zip(numbers, assignment, strict=True) if a == k) + "}" for k in sorted(set(assignment))
    )


@dataclass(frozen=True)
class Optima:
    """Best partitions of small sets of gradients, for Eq. 2 and for plain k-means."""

    dataset: str
    model: str
    seed: int
    num_sets: int = 40
    num_examples: int = 9
    num_clusters: int = 3


@run(version=1)
def find_optima(config: Optima) -> Result:
    """One row for each set, rule (weighted, plain) and cluster: its size and variance, and the variance of the estimator, over that of K = 1."""
    model = small_network(config.dataset, config.model, config.seed)
    partitions = torch.tensor(list(_canonical(config.num_examples, config.num_clusters)))  # (P, N)
    found = []
    for number in range(config.num_sets):
        rows = gradients(model, *small_set(config.dataset, config.seed, config.num_examples, f"optimum {number}"))
        sizes, spreads = shapes(rows @ rows.T, partitions, config.num_clusters)  # (P, K)
        alone = float((rows - rows.mean(0)).square().sum(1).mean())
        weighted, plain = (sizes.square() * spreads).sum(1), (sizes * spreads).sum(1)
        for rule, cost in (("weighted", weighted), ("plain", plain)):
            best = int(cost.argmin())
            for cluster in range(config.num_clusters):
                found.append(
                    {
                        "set": number,
                        "rule": rule,
                        "cluster": cluster,
                        "size": int(sizes[best, cluster]),
                        "spread": float(spreads[best, cluster]) / alone,
                        "variance": float(weighted[best]) / config.num_examples**2 / alone,
                    }
                )
    return Result(pd.DataFrame(found))


def shapes(gram: Tensor, partitions: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Sizes N_k (P, K) and variances within clusters V_k (P, K) of many partitions (P, N), from inner products; 0 for an empty cluster."""
    members = torch.nn.functional.one_hot(partitions, clusters).to(gram.dtype).transpose(1, 2)  # (P, K, N)
    sizes = members.sum(2)
    count = sizes.clamp(min=1)
    own = ((members @ gram) * members).sum(2)
    return sizes, ((members @ gram.diagonal()) / count - own / count.square()).clamp(min=0)
