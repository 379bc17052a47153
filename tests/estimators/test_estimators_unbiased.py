"""Means and variances over all draws on small problems, against the closed forms in per-example gradients (float64, 1e-10)."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, dense, generator, images, normal, over_outcomes, problem, rows_of, scatter

from sgdscope.estimators import SVRG, MiniBatch, Stratified
from sgdscope.training import mean_gradient

PARTITIONS = [[0, 0, 0, 1, 1, 2], [5, 5, 5, 5, 5, 5], [0, 1, 2, 3, 4, 5], [1, 0, 1, 0, 7, 7], [-3, 2, 2, 2, 2, 2]]


@pytest.mark.parametrize(("build", "number"), [(dense, 6), (images, 5)])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_mini_batches(batch_size, replacement, build, number):
    model, x, y = problem(build, number)
    mean, variance = over_outcomes(MiniBatch(batch_size, replacement=replacement), model, x, y)
    each = scatter(rows_of(model, x, y))
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    close(variance, each / batch_size * (1 if replacement else (number - batch_size) / (number - 1)))


@pytest.mark.parametrize("partition", PARTITIONS)
def test_proposition_3_1(partition):
    """Unbiased for any partition, with variance N^-2 sum_k N_k^2 V[g_jk]."""
    model, x, y = problem()
    partition, rows = torch.tensor(partition), rows_of(model, x, y)
    mean, variance = over_outcomes(Stratified(partition), model, x, y)
    sets = [rows[partition == name] for name in partition.unique()]
    close(mean, rows.mean(0))
    close(variance, sum(len(of) ** 2 * scatter(of) for of in sets) / len(x) ** 2)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.integers(0, 10**6))
def test_proposition_3_1_for_any_partition(partition, seed):
    """The same law on gradients at random."""
    partition, rows = torch.tensor(partition), normal(len(partition), 3, seed=seed)
    index, weights = Stratified(partition).outcomes(len(rows))
    found = (weights[:, :, None] * rows[index]).sum(1)
    close(found.mean(0), rows.mean(0))
    expected = sum(len(of) ** 2 * scatter(of) for of in (rows[partition == name] for name in partition.unique()))
    close(scatter(found), expected / len(rows) ** 2)


def test_limits():
    """K = N is the full batch whatever is drawn; K = 1 is a single example."""
    model, x, y = problem()
    full = Stratified(torch.arange(6)).estimate(model, "cross_entropy", x, y, generator=generator(3))
    close(full, mean_gradient(model, "cross_entropy", x, y))
    one, single = Stratified(torch.zeros(6, dtype=torch.int64)), MiniBatch(1)
    assert torch.equal(one.outcomes(6)[0], single.outcomes(6)[0]) and torch.equal(one.outcomes(6)[1], single.outcomes(6)[1])


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_duplicates_alone_in_a_cluster_add_nothing(copies):
    """N^2 V stays as it is when copies of an example that is alone in its set are added."""
    model, x, y = problem()
    partition = torch.tensor([0, 0, 0, 1, 1, 2])
    _, without = over_outcomes(Stratified(partition), model, x, y)
    last = torch.full((copies,), 5)
    more = [torch.cat([tensor, tensor[last]]) for tensor in (x, y, partition)]
    mean, variance = over_outcomes(Stratified(more[2]), model, more[0], more[1])
    close(variance * len(more[0]) ** 2, without * len(x) ** 2)
    close(mean, mean_gradient(model, "cross_entropy", more[0], more[1]))


@pytest.mark.parametrize("replacement", [False, True])
def test_svrg(replacement):
    """At any later point: unbiased, with the variance of a mini-batch of differences."""
    model, x, y = problem()
    estimator = SVRG(2, replacement=replacement)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    old = rows_of(model, x, y)
    mean, variance = over_outcomes(estimator, model, x, y)
    close(mean, old.mean(0))
    assert variance < 1e-28  # at its snapshot it is exact
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator(4), dtype=parameter.dtype)
    mean, variance = over_outcomes(estimator, model, x, y)
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    close(variance, scatter(rows_of(model, x, y) - old) / 2 * (1 if replacement else 4 / 5))
    assert variance > 1e-4


@pytest.mark.parametrize(
    "estimator",
    [MiniBatch(2), MiniBatch(2, replacement=True), MiniBatch(1), Stratified(torch.tensor([0, 0, 0, 1, 1]))],
    ids=["two", "two with replacement", "one", "stratified"],
)
def test_draws_are_uniform_over_the_outcomes(estimator):
    """Chi-squared over all outcomes, each as likely as any other; a subset may come in any order."""
    index, weights = estimator.outcomes(5)
    ordered = getattr(estimator, "replacement", True) or estimator.batch_size == 1
    as_key = lambda draw: tuple(draw.tolist() if ordered else sorted(draw.tolist()))  # noqa: E731
    counts = dict.fromkeys(map(as_key, index), 0)
    assert len(counts) == len(index)
    source, number = generator(11), 200 * len(index)
    for _ in range(number):
        drawn, given = estimator.draw(5, generator=source)
        counts[as_key(drawn)] += 1
        assert torch.equal(given, weights[0])
    statistic = sum((count - 200) ** 2 / 200 for count in counts.values())
    free = len(index) - 1
    assert statistic < free + 4 * (2 * free) ** 0.5, f"chi-squared {statistic} at {free} degrees of freedom"


@pytest.mark.parametrize("estimator", [MiniBatch(3), Stratified(torch.tensor([0, 0, 0, 1, 1, 2])), SVRG(3)], ids=lambda e: type(e).__name__)
def test_the_same_seed_gives_the_same_estimate(estimator):
    model, x, y = problem()
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    with torch.no_grad():
        model[0].weight += 0.1
    before = torch.get_rng_state()
    one, two, other = (estimator.estimate(model, "cross_entropy", x, y, generator=generator(seed)) for seed in (1, 1, 5))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())


def test_dependent_draws_break_the_formula():
    """Strata drawn with one common position keep the mean but not the variance: independence across strata is what Prop. 3.1 needs."""
    model, x, y = problem()
    estimator, rows = Stratified(torch.tensor([0, 0, 0, 1, 1, 1])), rows_of(model, x, y)
    index = estimator.strata.choose(torch.arange(3)[:, None].expand(3, 2))  # (3, 2), the same position in both
    found = rows[index].mean(1)
    close(found.mean(0), rows.mean(0))
    independent = (scatter(rows[:3]) + scatter(rows[3:])) / 4
    assert abs(scatter(found) / independent - 1) > 0.05
