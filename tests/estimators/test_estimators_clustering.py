"""Gradient clustering as an estimator: unbiased, better where there is structure, refused where it means nothing."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, dense, generator, images, normed, over_outcomes, problem, rows_of, scatter

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.estimators import GradientClustering, gradient_variance, partition_objective
from sgdscope.gradients import PerExampleGradients
from sgdscope.training import mean_gradient, train

KINDS = {
    "gram": {"centres": "gram"},
    "paper": {"centres": "gram", "sizes": "previous"},
    "rank1": {"centres": "rank1"},
    "svd": {"centres": "svd", "rank": 2},
    "authors": {"centres": "rank1", "sizes": "running", "biases": False, "refill": "one", "pass_batch": 4},
}


def refreshed(problem_of, num_clusters=3, **settings):
    model, x, y = problem_of
    estimator = GradientClustering(num_clusters, **settings)
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    return estimator


def estimate(estimator, model, x, y):
    return estimator.estimate(model, "cross_entropy", x, y, generator=generator(1))


@pytest.mark.parametrize("build", [dense, images])
@pytest.mark.parametrize("kind", KINDS)
def test_unbiased_with_the_variance_of_its_clusters(kind, build):
    """Over all draws, also after the parameters have moved on."""
    model, x, y = problem(build, 8)
    estimator = refreshed((model, x, y), **KINDS[kind])
    mean, variance = over_outcomes(estimator, model, x, y)
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    close(variance * 64, torch.tensor(partition_objective(gram, estimator.partition), dtype=torch.float64))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2
    mean, variance = over_outcomes(estimator, model, x, y)
    close(mean, mean_gradient(model, "cross_entropy", x, y))
    assert variance > 0


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_are_found(kind):
    """Few distinct examples, repeated: nine tenths of the variance of a mini-batch go, in all forms."""
    model, x, y = problem(dense, 4)
    of = torch.arange(40) % 4
    x, y = x[of], y[of]
    estimators = []
    for seed in range(5):
        estimator = GradientClustering(4, **KINDS[kind])
        estimator.refresh(model, "cross_entropy", x, y, generator=generator(seed))
        gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
        estimators.append(partition_objective(gram, estimator.partition) / 1600)
    plain = float(scatter(rows_of(model, x, y))) / 4 * 36 / 39
    assert min(estimators) < 0.1 * plain


def test_limits():
    """K = N gives the full gradient, K = 1 a single example with weight 1."""
    model, x, y = problem()
    close(estimate(refreshed((model, x, y), 6), model, x, y), mean_gradient(model, "cross_entropy", x, y))
    index, weights = refreshed((model, x, y), 1).outcomes(6)
    assert sorted(index[:, 0].tolist()) == list(range(6)) and (weights == 1).all()


def test_its_variance_by_both_ways():
    model, x, y = problem(images, 30)
    estimator = refreshed((model, x, y), 5)
    one, two = (
        gradient_variance(estimator, model, "cross_entropy", x, y, repeats=20, generator=generator(), method=method)
        for method in ("weights", "batches")
    )
    assert one.average == pytest.approx(two.average, rel=1e-9)
    assert one.normalised_guarded == pytest.approx(two.normalised_guarded, rel=1e-9)


def test_a_second_refresh_begins_with_the_clusters():
    """One step from a fixed point changes nothing; cold, it begins anew. On other data it always does."""
    model, x, y = problem(dense, 30)
    estimator = refreshed((model, x, y), 4, steps=50, sizes="none")
    before = estimator.partition.clone()
    assert estimator.clustering.converged
    estimator.steps = 1
    estimator.refresh(model, "cross_entropy", x, y, generator=generator(9))
    assert torch.equal(estimator.partition, before)
    fresh = refreshed((model, x.flip(0), y), 4, steps=1, sizes="none")
    estimator.refresh(model, "cross_entropy", x.flip(0), y, generator=generator())
    assert torch.equal(estimator.partition, fresh.partition)
    estimator.warm = False
    estimator.refresh(model, "cross_entropy", x.flip(0), y, generator=generator(9))
    assert not torch.equal(estimator.partition, fresh.partition)


def test_layers_and_biases():
    model, _, _ = problem(images)
    names = lambda **settings: GradientClustering(2, **settings).parameters(model)  # noqa: E731
    assert names() == ["0.weight", "0.bias", "3.weight", "3.bias", "6.weight", "6.bias"]
    assert names(biases=False) == ["0.weight", "3.weight", "6.weight"]
    assert names(layers=["3", "6.bias"]) == ["3.weight", "3.bias", "6.bias"]
    assert names(layers=["*.weight"], biases=True) == ["0.weight", "3.weight", "6.weight"]
    assert names(layers=["6"], biases=False) == ["6.weight"]


def test_only_chosen_layers_count():
    """A subset gives the clusters of its own Gram matrix."""
    model, x, y = problem(images, 20)
    chosen, every = (refreshed((model, x, y), 4, layers=layers) for layers in (["0"], None))
    rows = rows_of(model, x, y)[:, : 54 + 3]
    assert chosen.clustering.objective[-1] == pytest.approx(partition_objective(rows @ rows.T, chosen.partition))
    assert not torch.equal(chosen.partition, every.partition)


@pytest.mark.parametrize("kind", ["rank1", "svd"])
def test_augmentation(kind):
    """Clusters of one augmented copy, draws of others; the average over many is the gradient of augmented data."""
    model, x, y = problem(dense, 12)
    calls = []

    def jitter(x, generator):
        calls.append(len(x))
        return x + 0.01 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    estimator = refreshed((model, x, y), **(KINDS[kind] | {"augment": jitter}))
    first = estimate(estimator, model, x, y)
    assert calls == [12, 3] and not torch.equal(first, estimate(refreshed((model, x, y), **KINDS[kind]), model, x, y))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_clusters": 0}, InvalidInput, "num_clusters must be a whole number of at least 1; 0 came"),
        ({"batch_size": 4}, InvalidInput, "batch_size must be num_clusters, 3, for each cluster gives one example; 4 came"),
        ({"batch_size": 3.5}, InvalidInput, "batch_size must be num_clusters"),
        ({"steps": 0}, InvalidInput, "steps must be a whole number"),
        ({"centres": "exact"}, NotFound, "unknown centres 'exact'.*gram, rank1, svd"),
        ({"sizes": "last"}, NotFound, "unknown sizes 'last'"),
        ({"refill": "two"}, NotFound, "unknown refill 'two'"),
        ({"rank": 2}, InvalidInput, "centres 'gram' have no rank to choose; rank 2 came"),
        ({"augment": lambda x, g: x}, InvalidInput, "exact centres are of fixed per-example gradients; an augmentation came"),
        ({"layers": "0"}, InvalidInput, "layers must be a list of names; '0' came"),
        ({"layers": []}, InvalidInput, "layers must be a list of names"),
    ],
)
def test_settings_refused(settings, error, message):
    with pytest.raises(error, match=message):
        GradientClustering(**({"num_clusters": 3} | settings))


@pytest.mark.parametrize("centres", ["gram", "rank1"])
def test_use_refused(centres):
    model, x, y = problem()
    estimator = GradientClustering(3, 3, centres=centres)
    for call in (lambda: estimate(estimator, model, x, y), lambda: estimator.draw(6, generator=generator()), lambda: estimator.outcomes(6)):
        with pytest.raises(InvalidInput, match="GradientClustering has no clusters yet. Call refresh"):
            call()
    estimator.refresh(model, "cross_entropy", x, y, generator=generator())
    with pytest.raises(InvalidInput, match="refreshed on another model"):
        estimate(estimator, copy.deepcopy(model), x, y)
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        estimate(estimator, model, x[:5], y[:5])
    with pytest.raises(InvalidInput, match="refreshed on other data"):
        estimate(estimator, model, x, y.flip(0))
    x += 1
    with pytest.raises(InvalidInput, match="x must stay as it was when the estimator was refreshed"):
        estimate(estimator, model, x, y)


@pytest.mark.parametrize("centres", ["gram", "rank1"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_clusters": 7}, "num_clusters must be at most the number of examples; 7 came for 6"),
        ({"layers": ["0", "1"]}, "layers must name modules or parameters that are trained; '1' matches none of 0.weight, 0.bias"),
        ({"layers": ["0.bias"], "biases": False}, "some parameters must count for the distances"),
    ],
)
def test_refresh_refused(settings, message, centres):
    model, x, y = problem()
    estimator = GradientClustering(**({"num_clusters": 3, "centres": centres} | settings))
    with pytest.raises(InvalidInput, match=message):
        estimator.refresh(model, "cross_entropy", x, y, generator=generator())


def test_batch_norm_in_training_mode_is_refused_at_a_refresh():
    model, x, y = problem(normed, 8)
    with pytest.raises(InvalidInput, match="batch norm must use fixed statistics"):
        refreshed((model, x, y))
    assert refreshed((model.eval(), x, y)).partition.shape == (8,)


def test_a_gram_matrix_beyond_memory():
    data = problem(dense, 30)
    with pytest.raises(
        InvalidInput, match="the Gram matrix of 30 examples takes .* GiB, memory allows .*Use centres='rank1', or raise memory"
    ):
        refreshed(data, memory=30 * 30 * 8 - 1)
    assert refreshed(data, memory=30 * 30 * 8).partition.shape == refreshed(data, centres="rank1", memory=7199).partition.shape


@pytest.mark.parametrize("centres", ["gram", "rank1"])
def test_an_unused_layer_is_refused(centres):
    model, x, y = problem()
    model.add_module("idle", torch.nn.Identity())
    model.idle.spare = torch.nn.Linear(2, 2).double()
    with pytest.raises(InvalidInput, match="the loss must depend on some of the parameters chosen; it uses none of idle.spare.bias"):
        refreshed((model, x, y), centres=centres, layers=["idle"])


@pytest.mark.parametrize("kind", ["gram", "paper", "rank1"])
def test_a_checkpoint_carries_the_clusters(kind, tmp_path):
    """Six steps with a warm refresh at the fourth, in one go and from a checkpoint at the second: the same bits."""

    def steps(number, file):
        model, x, y = problem(dense, 12)
        estimator, found = GradientClustering(3, **KINDS[kind]), {}
        for point in train(
            model, "cross_entropy", x, y, learning_rate=0.1, num_steps=number, estimator=estimator, checkpoint=file, checkpoint_every=1
        ):
            if point.step in (0, 4):
                estimator.refresh(model, "cross_entropy", x, y, generator=generator(point.step))
            found[point.step] = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        return found

    whole = steps(6, tmp_path / "a.safetensors")
    steps(2, tmp_path / "b.safetensors")
    rest = steps(6, tmp_path / "b.safetensors")
    assert sorted(rest) == [3, 4, 5, 6] and all(torch.equal(rest[step], whole[step]) for step in rest)
