"""Clusters moved by mini-batches, and refreshes of a part of the data: against long vectors, and unbiased whatever happens."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, dense, generator, images, normal, over_outcomes, problem, rows_of

from sgdscope.errors import InvalidInput
from sgdscope.estimators import GradientClustering, factored_lloyd, partition_objective, weighted_lloyd
from sgdscope.gradients import PerExampleGradients
from sgdscope.models.examples import take
from sgdscope.training import mean_gradient, train

EXACT = {"centres": "svd", "rank": 99}
KINDS = {"rank1": {"centres": "rank1"}, "svd": {"centres": "svd", "rank": 2}, "exact": EXACT, "gram": {"centres": "gram"}}


def refreshed(data, num_clusters=3, seed=0, **settings):
    estimator = GradientClustering(num_clusters, **settings)
    estimator.refresh(*with_loss(data), generator=generator(seed))
    return estimator


def with_loss(data):
    model, x, y = data
    return model, "cross_entropy", x, y


def move(model, size=0.2):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * normal(*parameter.shape, seed=3)


def centres_of(estimator, model):
    """(K, d) all centres as long vectors."""
    return torch.cat([estimator._network.centres[name].dense() for name, _ in model.named_parameters()], 1)


@pytest.mark.parametrize("reassign", [True, False])
@pytest.mark.parametrize("keep", [0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["rank1", "svd", "exact"])
@pytest.mark.parametrize("build", [dense, images])
def test_unbiased_after_updates(build, kind, keep, reassign):
    """Over all draws, at parameters that moved before and after."""
    data = problem(build, 8)
    model, x, y = data
    estimator = refreshed(data, **KINDS[kind])
    for seed in range(3):
        move(model)
        estimator.update(*with_loss(data), num_examples=5, keep=keep, reassign=reassign, generator=generator(seed))
    move(model)
    mean, variance = over_outcomes(estimator, model, x, y)
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
    close(variance * 64, torch.tensor(partition_objective(gram, estimator.partition), dtype=torch.float64))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_unbiased_after_refreshes_of_a_part(kind, share):
    data = problem(dense, 8)
    model, x, y = data
    estimator = refreshed(data, share=share, **KINDS[kind])
    for seed in range(4):
        move(model)
        estimator.refresh(*with_loss(data), generator=generator(seed))
        mean, _ = over_outcomes(estimator, model, x, y)
        close(mean, mean_gradient(model, "cross_entropy", x, y))
        assert torch.equal(estimator.clustering.sizes, torch.bincount(estimator.partition, minlength=3))


@pytest.mark.parametrize("keep", [0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", ["previous", "running", "none"])
@pytest.mark.parametrize("build", [dense, images])
def test_updates_against_long_vectors(build, sizes, keep):
    """Assignment of the batch by all sizes, then running means, one example and one cluster at a time; centres of full rank are exact."""
    data = problem(build, 30)
    model, x, y = data
    estimator = refreshed(data, 4, sizes=sizes, steps=2, pass_batch=3, **EXACT)
    partition, centres = estimator.partition.clone(), centres_of(estimator, model)
    counts = torch.bincount(partition, minlength=4).double()
    total = 0
    for seed in range(3):
        move(model)
        rows, index = rows_of(model, x, y), torch.randperm(30, generator=generator(seed))[:11]
        inside = torch.zeros(30, dtype=torch.bool).index_fill_(0, index, True)
        alive = torch.bincount(partition, minlength=4) > 0
        given = torch.bincount(partition[~inside], minlength=4)
        weights = {"previous": torch.bincount(partition, minlength=4), "running": given + 1, "none": torch.ones(4)}[sizes]
        moved = 0
        for place, i in enumerate(index.tolist()):
            if sizes == "running" and place % 3 == 0:
                weights = given + 1
            cost = torch.where(alive, weights * (rows[i] - centres).square().sum(1), torch.inf)
            best = int(cost.argmin())
            given[best] += 1
            moved += best != int(partition[i])
            partition[i] = best
        for k in range(4):
            of = rows[index[partition[index] == k]]
            if len(of):
                centres[k] = (keep * counts[k] * centres[k] + of.sum(0)) / (keep * counts[k] + len(of))
                counts[k] = keep * counts[k] + len(of)
        assert estimator.update(*with_loss(data), num_examples=11, keep=keep, generator=generator(seed)) == moved
        assert torch.equal(estimator.partition, partition)
        close(centres_of(estimator, model), centres, 1e-8)
        close(estimator._network.counts, counts)
        total += moved
    assert total > 0


@pytest.mark.parametrize("build", [dense, images])
def test_rank_one_moves_both_factors(build):
    """Running means of c and of d, and of whole vectors for biases."""
    data = problem(build, 12)
    model, x, y = data
    estimator = refreshed(data, 2, **KINDS["rank1"])
    before = {name: centres.state() for name, centres in estimator._network.centres.items()}
    counts, partition = torch.bincount(estimator.partition, minlength=2), estimator.partition
    move(model)
    estimator.update(*with_loss(data), num_examples=7, keep=0.25, reassign=False, generator=generator(5))
    index = torch.randperm(12, generator=generator(5))[:7]
    ((_, factors),) = PerExampleGradients.of(model, "cross_entropy", x[index], y[index], form="factored").factors()
    for name, factor in factors.items():
        for k in range(2):
            of = partition[index] == k
            old, new = 0.25 * counts[k], int(of.sum())
            if hasattr(factor, "patches"):
                parts = {"inputs": factor.patches(slice(None)).mean(3), "outputs": factor.gradients_of(slice(None)).sum(3)}
            elif hasattr(factor, "inputs"):
                parts = {"inputs": factor.inputs, "outputs": factor.gradients}
            else:
                parts = {"centres": factor.rows()}
            for side, values in parts.items():
                found, past = (state[side][k].squeeze(1) if side != "centres" else state[side][k] for state in (
                    estimator._network.centres[name].state(), before[name]))  # fmt: skip
                close(found, (old * past + values[of].sum(0)) / (old + new))


def test_a_batch_of_everything_is_the_update_step():
    """All examples, nothing kept, nobody reassigned: Eq. 4 at the present parameters."""
    data = problem(images, 20)
    model, x, y = data
    estimator = refreshed(data, 3, **EXACT)
    move(model)
    assert estimator.update(*with_loss(data), num_examples=20, keep=0, reassign=False, generator=generator()) == 0
    rows = rows_of(model, x, y)
    close(centres_of(estimator, model), torch.stack([rows[estimator.partition == k].mean(0) for k in range(3)]), 1e-8)


def test_the_next_refresh_begins_with_the_centres_that_moved():
    """One assignment by them, and one pass less over the data."""
    data = problem(dense, 30)
    model, x, y = data
    estimator, plain = (refreshed(data, 4, steps=1, sizes="none", refill="none", memory=2000, **EXACT) for _ in range(2))
    move(model)
    estimator.update(*with_loss(data), num_examples=9, generator=generator(1))
    centres = centres_of(estimator, model)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    PerExampleGradients.of(model, "cross_entropy", x, y)  # the check of the model
    passes = []
    for one in (estimator, plain):
        seen.clear()
        one.refresh(*with_loss(data), generator=generator())
        passes.append(sum(seen))
    assert passes == [30, 60]
    assert torch.equal(estimator.partition, torch.cdist(rows_of(model, x, y), centres).argmin(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_refresh_of_a_part(kind):
    """The part by itself from its clusters, with the sizes of the rest; the rest stays; only the part goes through the model."""
    data = problem(dense, 30)
    model, x, y = data
    estimator = refreshed(data, 4, steps=2, share=0.4, **KINDS[kind])
    start = estimator.partition.clone()
    move(model, 0.5)
    seen = []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    estimator.refresh(*with_loss(data), generator=generator(7))
    handle.remove()
    assert max(seen) <= 12
    source = generator(7)
    part = torch.randperm(30, generator=source)[:12]
    rest = torch.ones(30, dtype=torch.bool).index_fill_(0, part, False)
    assert torch.equal(estimator.partition[rest], start[rest])
    settings = {"steps": 2, "start": start[part], "outside": torch.bincount(start[rest], minlength=4), "generator": source}
    gradients = lambda index: PerExampleGradients.of(  # noqa: E731
        model, "cross_entropy", *(take(take(t, part), slice(None) if index is None else index) for t in (x, y)), form="factored"
    )
    if kind == "gram":
        expected = weighted_lloyd(gradients(None).gram(), 4, **settings)
    else:
        options = {"rule": "mean"} if kind == "rank1" else {"rule": "svd", "rank": KINDS[kind]["rank"]}
        expected = factored_lloyd(gradients, 4, **options, **settings)
    assert torch.equal(estimator.partition[part], expected.assignment)
    assert estimator.clustering.objective == expected.objective


@pytest.mark.parametrize("refill", ["all", "none"])
@pytest.mark.parametrize("sizes", ["previous", "none"])
def test_a_part_by_factors_and_by_inner_products(sizes, refill):
    """At full rank the same clusters."""
    model, x, y = problem(images, 24)
    gradients = lambda index: PerExampleGradients.of(  # noqa: E731
        model, "cross_entropy", *(t if index is None else take(t, index) for t in (x, y)), form="factored"
    )
    shared = {"steps": 5, "sizes": sizes, "refill": refill, "start": torch.arange(24) % 5, "outside": torch.tensor([3, 0, 40, 1, 5, 2])}
    exact = weighted_lloyd(gradients(None).gram(), 6, generator=generator(1), **shared)
    found = factored_lloyd(gradients, 6, rule="svd", rank=99, generator=generator(1), **shared)
    assert torch.equal(found.assignment, exact.assignment) and (found.empty, found.collapsed) == (exact.empty, exact.collapsed)


def test_a_share_of_one_changes_nothing():
    data = problem(dense, 20)
    one, two = refreshed(data, steps=3), refreshed(data, steps=3, share=1)
    for estimator in (one, two):
        estimator.refresh(*with_loss(data), generator=generator(1))
    assert torch.equal(one.partition, two.partition)


@pytest.mark.parametrize("kind", ["rank1", "svd"])
def test_updates_mend_clusters_that_are_out_of_date(kind):
    """Twenty examples of each of four gradients, clustered at other parameters by one poor step: updates leave less than half the variance."""
    model, x, y = problem(dense, 4)
    of = torch.arange(80) % 4
    data = (model, x[of], y[of])
    better = 0
    for seed in range(5):
        estimator = refreshed(data, 8, seed, steps=1, **KINDS[kind])
        move(model, 0.3)
        gram = PerExampleGradients.of(*with_loss(data)).gram()
        before = partition_objective(gram, estimator.partition)
        for step in range(12):
            estimator.update(*with_loss(data), num_examples=40, keep=0.5, generator=generator(step))
        better += partition_objective(gram, estimator.partition) < 0.5 * before or before < 1e-12
    assert better >= 4


def test_a_cluster_that_loses_all_its_examples_gives_none_until_a_refresh():
    model, x, y = problem(dense, 10)
    data = (model, x, y)
    estimator = refreshed(data, 5, sizes="none", **EXACT)
    estimator._take_up(torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 3]))
    estimator._network.centres["0.weight"].inputs[4] += 50  # far from everything
    estimator.update(*with_loss(data), num_examples=10, generator=generator())
    assert 4 not in estimator.partition.tolist() and len(estimator.draw(10, generator=generator())[0]) == 4
    mean, _ = over_outcomes(estimator, model, x, y)
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    estimator.update(*with_loss(data), num_examples=10, generator=generator(1))
    assert 4 not in estimator.partition.tolist()
    estimator.refresh(*with_loss(data), generator=generator())
    assert estimator.partition.unique().numel() == 5


def test_an_augmented_batch():
    data = problem(dense, 12)
    calls = []

    def jitter(x, generator):
        calls.append(len(x))
        return x + 0.01 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    estimator = refreshed(data, augment=jitter, share=0.5, **KINDS["rank1"])
    estimator.update(*with_loss(data), num_examples=5, generator=generator())
    estimator.refresh(*with_loss(data), generator=generator())
    assert calls == [12, 5, 6]


@pytest.mark.parametrize("kind", ["rank1", "svd"])
def test_a_checkpoint_carries_the_centres(kind, tmp_path):
    """Updates at each step and a refresh of a part at the fifth, in one go and from a checkpoint in between: the same bits."""

    def steps(number, file):
        data = problem(dense, 16)
        estimator, found = GradientClustering(3, share=0.5, **KINDS[kind]), {}
        for point in train(*with_loss(data), learning_rate=0.1, num_steps=number, estimator=estimator, checkpoint=file, checkpoint_every=1):
            if point.step in (0, 5):
                estimator.refresh(*with_loss(data), generator=generator(point.step))
            else:
                estimator.update(*with_loss(data), num_examples=6, keep=0.5, generator=generator(point.step))
            found[point.step] = torch.cat([p.detach().flatten().clone() for p in data[0].parameters()])
        return found

    whole = steps(7, tmp_path / "a.safetensors")
    for stop in (3, 5):
        steps(stop, tmp_path / f"{stop}.safetensors")
        rest = steps(7, tmp_path / f"{stop}.safetensors")
        assert sorted(rest) == list(range(stop + 1, 8)) and all(torch.equal(rest[step], whole[step]) for step in rest)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_examples": 0}, "num_examples must be a whole number of at least 1; 0 came"),
        ({"num_examples": 13}, "num_examples must be at most the number of examples; 13 came for 12"),
        ({"num_examples": 3, "keep": 1.5}, "keep must be a number from 0 to 1.*1.5 came"),
        ({"num_examples": 3, "keep": True}, "keep must be a number from 0 to 1"),
        ({"num_examples": 3, "generator": 0}, "generator must be a torch.Generator; int came"),
    ],
)
def test_updates_refused(settings, message):
    data = problem(dense, 12)
    with pytest.raises(InvalidInput, match=message):
        refreshed(data, **KINDS["rank1"]).update(*with_loss(data), **({"generator": generator()} | settings))


def test_use_refused():
    data = problem(dense, 12)
    model, x, y = data
    with pytest.raises(InvalidInput, match="GradientClustering has no clusters yet"):
        GradientClustering(3, centres="rank1").update(*with_loss(data), num_examples=3, generator=generator())
    with pytest.raises(InvalidInput, match="centres 'gram' are means over all members and are not kept.*Use 'rank1' or 'svd'"):
        refreshed(data).update(*with_loss(data), num_examples=3, generator=generator())
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        refreshed(data, **KINDS["rank1"]).update(model, "cross_entropy", x.flip(0), y, num_examples=3, generator=generator())


@pytest.mark.parametrize("share", [0, 1.01, -0.5, "half", True])
def test_shares_refused(share):
    with pytest.raises(InvalidInput, match="share must be a number above 0 and at most 1"):
        GradientClustering(3, share=share)
