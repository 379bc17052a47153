"""Random-features runs: batched tensors against one nn.Module, the training loop and the estimators; columns, keys, refusals."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch

from sgdscope.data import overwrite_with_copies, random_features
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import SgdscopeError
from sgdscope.estimators import SVRG, GradientClustering, MiniBatch, gradient_variance
from sgdscope.experiments.gradient_variance import random_features_data as data
from sgdscope.experiments.gradient_variance import random_features_group as group
from sgdscope.experiments.gradient_variance import random_features_runs as runs
from sgdscope.experiments.gradient_variance.random_features_data import RandomFeatures
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import run_of
from sgdscope.runs.configuration import canonical
from sgdscope.training import Drops, train

SMALL = RandomFeatures(
    2.0,
    6,
    5,
    0.1,
    100,
    hidden=48,
    batch_size=3,
    num_steps=40,
    log_every=10,
    repeats=3,
    first_refresh=4,
    refresh_every=15,
    weight_decay=0.01,
)
STATISTICS = {
    "variance": "average",
    "normalised": "normalised",
    "normalised_mean": "normalised_mean",
    "guarded": "normalised_guarded",
    "unguarded": "normalised_unguarded",
}


def double(monkeypatch):
    """Features in float64, so that only the order of sums differs."""
    prepare = data.TrainingSet.prepare

    def prepared(self, teachers):
        prepare(self, teachers)
        self.features, self.start = self.features.double(), self.start.double()

    monkeypatch.setattr(data.TrainingSet, "prepare", prepared)


def one_model(config):
    """The same run by an ordinary module: autograd, the training loop, the estimators."""
    settings = {"dimension": config.input_dim, "teacher_hidden": config.teacher_hidden, "definition": data.SETUPS[config.definition][0]}
    x, y = random_features(config.num_examples, **settings, seed=config.seed)
    if config.share:
        rows = overwrite_with_copies(config.num_examples, originals=config.originals, share=config.share)
        rows = rows[torch.randperm(len(rows), generator=stream_generator(config.seed, "order of copies"))]
        x, y = x[rows], y[rows]
    model = data.student(config.definition, config.input_dim, config.hidden, config.seed)
    features = model[:3](x).double()  # what the runs keep: float32 products, then doubles
    model, x = model[3].double(), features
    loss = "cross_entropy"
    if config.definition == "paper":
        loss, y = "binary_cross_entropy", y[:, None].double()
    batch = config.batch_size
    estimators = {
        "SG-B": MiniBatch(batch),
        "SG-2B": MiniBatch(2 * batch),
        "SVRG": SVRG(batch),
        "GC": GradientClustering(batch, centres="rank1", biases=False, steps=config.clustering_steps),
    }
    draws = {name: stream_generator(config.seed, "estimates", name) for name in estimators}
    clustering = stream_generator(config.seed, "clustering")
    rate = Drops(config.learning_rate, steps=(config.drop_at,), factor=config.drop_factor) if config.drop_at else config.learning_rate
    steps = train(
        model,
        loss,
        x,
        y,
        learning_rate=rate,
        batch_size=batch,
        num_steps=config.num_steps,
        seed=config.seed,
        weight_decay=config.weight_decay,
    )
    found = []
    for number, _ in enumerate(steps):
        if number >= config.first_refresh and (number - config.first_refresh) % config.refresh_every == 0:
            for name, estimator in estimators.items():
                estimator.refresh(model, loss, x, y, generator=clustering if name == "GC" else torch.Generator())
        if number and number % config.log_every == 0:
            dense = PerExampleGradients.of(model, loss, x, y).dense()
            for name, estimator in estimators.items():
                statistics = gradient_variance(estimator, model, loss, x, y, repeats=config.repeats, generator=draws[name])
                row = {
                    "step": number,
                    "estimator": name,
                    "example_square": dense.square().mean(),
                    "gradient_square": dense.mean(0).square().mean(),
                }
                row |= {column: getattr(statistics, name) for column, name in STATISTICS.items()}
                found.append(row | {"exact": exact(name, estimator, dense, model, loss, x, y)})
    return pd.DataFrame(found).astype({"example_square": float, "gradient_square": float})


def exact(name, estimator, gradients, model, loss, x, y):
    """By the definition: covariance of all examples, of the differences, or of each cluster."""
    number = len(gradients)
    if name == "GC":
        sets = [gradients[estimator.partition == k] for k in estimator.partition.unique()]
        return float(sum(len(s) ** 2 * s.var(0, correction=0).mean() for s in sets)) / number**2
    if name == "SVRG":
        gradients = gradients - PerExampleGradients.of(estimator._snapshot, loss, x, y).dense()
    return float(gradients.var(0).mean() / estimator.batch_size * (1 - estimator.batch_size / number))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"definition": "authors_code"},
        {"definition": "paper"},
        {"share": 0.5, "originals": 2},
        {"drop_at": 20},
        {"overparametrisation": 0.5, "learning_rate": 1.0},
    ],
    ids=["figures", "authors_code", "paper", "copies", "drop", "large_rate"],
)
def test_batched_tensors_agree_with_one_module(changes, monkeypatch):
    double(monkeypatch)
    config = replace(SMALL, **changes)
    others = [replace(config, learning_rate=0.3), replace(config, seed=101), replace(config, teacher_hidden=9)]
    found = list(runs.train_together([others[0], config, *others[1:]]))[1].table
    wanted = one_model(config)
    assert found.step.tolist() == wanted.step.tolist() and found.estimator.tolist() == wanted.estimator.tolist()
    for column in ["example_square", "gradient_square", "exact", *STATISTICS]:
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-5, atol=1e-12, err_msg=column)  # tables are in float32


def test_a_batch_equals_single_runs():
    configs = [
        replace(SMALL, learning_rate=rate, seed=seed, share=share) for rate in (0.1, 0.01) for seed in (100, 101) for share in (0, 0.5)
    ]
    for config, result in zip(configs, runs.train_together(configs), strict=True):
        alone = runs.train(config).table
        for column in result.table.columns.drop("estimator"):
            np.testing.assert_allclose(result.table[column], alone[column], rtol=1e-4, err_msg=column)


def test_same_bits():
    first, second = (runs.train(SMALL).table for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_estimates_scatter_around_the_exact_variance():
    table = runs.train(replace(SMALL, repeats=400, num_steps=10)).table
    np.testing.assert_allclose(table.variance, table.exact, rtol=0.25)


def test_adding_an_estimate_changes_no_trajectory():
    """Loss and accuracy are those of the run that measures nothing else."""
    measured, plain = (runs.train(replace(SMALL, repeats=repeats)).table for repeats in (3, 0))
    assert plain.estimator.unique().tolist() == ["SG-B"]
    one = measured[measured.estimator == "SG-B"]
    for column in ("loss", "accuracy", "exact", "example_square", "gradient_square"):
        assert one[column].tolist() == plain[column].tolist()


def test_extreme_coordinates():
    """100 coordinates, one of which is silent in the second pass but for a little noise."""
    generator = torch.Generator().manual_seed(0)
    first, second = (1 + torch.randn(10, 100, generator=generator, dtype=torch.float64) for _ in range(2))
    second[:, 7] *= 1e-3
    found = group._extreme(first, second)
    assert found["extreme_moment"] < 1e-4 and 0.3 < found["extreme_noise"] < 3 and found["extreme_share"] > 0.9


def test_a_run_that_diverges(monkeypatch):
    losses = runs.Readouts.losses
    monkeypatch.setattr(runs.Readouts, "losses", lambda self, logits: losses(self, logits) * torch.tensor([1.0, torch.nan]))
    fine, gone = runs.train_together([SMALL, replace(SMALL, learning_rate=0.2)])
    assert (fine.status, fine.diverged_at) == ("finished", None)
    assert (gone.status, gone.diverged_at) == ("diverged", 10)
    assert gone.table.empty and gone.table.dtypes.tolist() == fine.table.dtypes.tolist()


def test_training_sets_share_inputs_between_teachers():
    known = data.TrainingSet("paper", 6, 8, 20, 100)
    known.prepare({3})
    features = known.features
    known.prepare({3, 4})
    assert known.features is features and not torch.equal(known.labels(3), known.labels(4))
    x, y = random_features(20, dimension=6, teacher_hidden=4, definition="paper", seed=100)
    assert torch.equal(known.labels(4), y) and known.rows(0.0, 5) is None
    model = data.student("paper", 6, 8, 100)
    assert model[3].bias is None and data.student("figures", 6, 8, 100)[3].weight.shape == (2, 8)
    assert torch.equal(data.student("figures", 6, 8, 100)[1].weight, model[1].weight)
    torch.testing.assert_close(features, model[:3](x).detach())
    assert sorted(known.rows(0.5, 2).tolist()) == sorted([*range(10), *[0, 1] * 5])


def test_configurations_of_one_size_are_computed_together():
    run = run_of(SMALL)
    together = {"input_dim": 7, "teacher_hidden": 9, "learning_rate": 0.3, "seed": 1, "share": 0.5, "drop_at": 10}
    assert run.shape(SMALL) == run.shape(replace(SMALL, **together))
    assert all(run.shape(SMALL) != run.shape(replace(SMALL, **{name: value})) for name, value in {"hidden": 50, "batch_size": 4}.items())


def test_key_and_defaults():
    golden = RandomFeatures(0.1, 100, 100, 0.01, 3)
    assert run_of(golden).name == "gradient_variance.random_features_runs.train"
    assert run_of(golden).key(golden) == "f75e72ba5a2db81946b0"
    given = {"overparametrisation", "input_dim", "teacher_hidden", "learning_rate", "seed"}
    assert {name: value for name, value in canonical(golden).items() if name not in given} == {
        "share": 0.0, "definition": "figures", "hidden": 1000, "batch_size": 10, "num_steps": 5000, "log_every": 100, "repeats": 10,
        "first_refresh": 10, "refresh_every": 1000, "clustering_steps": 3, "weight_decay": 1e-4, "originals": 5, "drop_at": 0, "drop_factor": 0.1,
    }  # fmt: skip
    assert golden.num_examples == 10_000 and len(fields(golden)) == 19
    assert [replace(golden, overparametrisation=tau).num_examples for tau in (0.5, 1.5, 2.5, 3.0, 10.0)] == [2000, 666, 400, 333, 100]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overparametrisation": 10.0}, r"must give 6 examples at least, for SG-2B; 48 / 10 came\. Take a smaller"),
        ({"repeats": 1}, r"repeats must be 0 \(exact variance only\) or at least 2, got 1"),
        ({"first_refresh": 11}, r"first refresh must come before the first measurement; steps 11 and 10 came"),
        ({"share": 0.95}, r"copies of 5 originals do not fit in 24 rows"),
        ({"definition": "mine"}, r"unknown definition 'mine'\. Valid: figures, paper, authors_code"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(SgdscopeError, match=message):
        runs.train(replace(SMALL, **changes))
