"""Clustering with factored centres: against the Gram matrix at full rank, and against materialised gradients with Eq. 6."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "gradients"))
from estimator_cases import close, dense, generator, images, problem, rows_of, seeded
from twins import CASES, case

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.estimators import GradientClustering, factored_lloyd, weighted_lloyd
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.factors import Rows
from sgdscope.models.examples import take


def source(model, x, y, **options):
    """The gradients that `factored_lloyd` asks for."""

    def gradients(index):
        a, b = (x, y) if index is None else (take(x, index), take(y, index))
        return PerExampleGradients.of(model, "cross_entropy", a, b, form="factored", **options)

    return gradients


@pytest.mark.parametrize("parameters", [None, ["0.weight"], ["0.bias", "0.weight"]])
@pytest.mark.parametrize("refill", ["all", "one", "none"])
@pytest.mark.parametrize("sizes", ["previous", "none"])
@pytest.mark.parametrize("build", [dense, images])
def test_full_rank_is_exact(build, sizes, refill, parameters):
    """Centres of full rank are the means: the same clusters as from the Gram matrix, refills included, from examples and from a partition."""
    model, x, y = problem(build, 24)
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram(parameters=parameters)
    for start in (None, torch.arange(24) % 5):
        shared = {"steps": 6, "sizes": sizes, "refill": refill, "start": start}
        exact = weighted_lloyd(gram, 5, generator=generator(1), **shared)
        found = factored_lloyd(source(model, x, y), 5, rule="svd", rank=99, parameters=parameters, generator=generator(1), **shared)
        assert torch.equal(found.assignment, exact.assignment) and torch.equal(found.sizes, exact.sizes)
        assert (found.empty, found.collapsed, found.converged) == (exact.empty, exact.collapsed, exact.converged)


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_layer(name):
    """Full rank against the Gram matrix for all the models that per-example gradients are tested on."""
    model, x, y = case(name, number=10)
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
    settings = {"sizes": "none", "steps": 4, "start": torch.arange(10) % 3}
    exact = weighted_lloyd(gram, 3, generator=generator(1), **settings)
    found = factored_lloyd(source(model, x, y), 3, rule="svd", rank=9999, generator=generator(1), **settings)
    assert torch.equal(found.assignment, exact.assignment)


def test_inputs_in_dicts_and_float32():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.line = torch.nn.Embedding(9, 3), torch.nn.Linear(3, 3)

        def forward(self, tokens):
            return self.line(self.words(tokens).sum(1))

    model = seeded(Net, dtype=torch.float32)
    x, y = {"tokens": torch.arange(60).view(20, 3) * 7 % 9}, torch.arange(20) % 3
    for centres in ("gram", "rank1"):
        estimator = GradientClustering(4, centres=centres)
        estimator.refresh(model, "cross_entropy", x, y, generator=generator())
        found = estimator.estimate(model, "cross_entropy", x, y, generator=generator())
        assert found.dtype == torch.float32 and found.shape == (39,)
        full = full_gradient(model, x, y)
        mean = sum(estimator.estimate(model, "cross_entropy", x, y, generator=generator(s)) for s in range(400)) / 400
        assert (mean - full).norm() < 0.1 * full.norm()


def full_gradient(model, x, y):
    return PerExampleGradients.of(model, "cross_entropy", x, y).mean()


def materialised(model, x, y, start, *, clusters, steps, sizes, pass_batch):
    """Algorithms 1 to 3 and Eq. 6 with whole-network gradients and centres as long vectors."""
    rows = rows_of(model, x, y)
    ((_, factors),) = PerExampleGradients.of(model, "cross_entropy", x, y, form="factored").factors()
    assignment, history = start.clone(), []
    for _ in range(steps):
        last, centres = torch.bincount(assignment, minlength=clusters), []
        for k in range(clusters):
            parts = []
            for factor in factors.values():
                if isinstance(factor, Rows):
                    parts.append(factor.matrix[assignment == k].mean(0))
                    continue
                a, d = (factor.inputs[:, 0, :, None], factor.gradients[:, 0, :, None]) if factor.positions == 1 else (None, None)
                if a is None:
                    a, d = factor.patches(slice(None))[:, 0], factor.gradients_of(slice(None))[:, 0]
                parts.append(torch.outer(d[assignment == k].sum(2).mean(0), a[assignment == k].mean((0, 2))).flatten())
            centres.append(torch.cat(parts))
        distances = torch.cdist(rows, torch.stack(centres)).square()
        distances[:, last == 0] = torch.inf
        given, weights = torch.zeros(clusters), torch.ones(clusters) if sizes != "previous" else last
        for i in range(len(x)):
            if sizes == "running" and i % pass_batch == 0:
                weights = given + 1
            assignment[i] = torch.where(last > 0, weights * distances[i], torch.inf).argmin()
            given[assignment[i]] += 1
        near = distances.gather(1, assignment[:, None])[:, 0]
        history.append(float((torch.bincount(assignment, minlength=clusters)[assignment] * near).sum()))
    return assignment, history


@pytest.mark.parametrize("memory", [1 << 30, 20_000])
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("sizes", ["previous", "running", "none"])
@pytest.mark.parametrize("build", [dense, images])
def test_rank_one_against_long_vectors(build, sizes, chunk, memory):
    """One pass a step and layer by layer, or everything at once: the same clusters, whatever the chunks and whether factors are kept."""
    model, x, y = problem(build, 23)
    start = torch.arange(23) % 4
    for steps in (1, 4):
        assignment, history = materialised(model, x, y, start, clusters=4, steps=steps, sizes=sizes, pass_batch=5)
        found = factored_lloyd(
            source(model, x, y, chunk=chunk, memory=memory), 4, steps=steps, sizes=sizes, start=start, refill="none", pass_batch=5,
            generator=generator(),
        )  # fmt: skip
        assert torch.equal(found.assignment, assignment)
        close(torch.tensor(found.objective), torch.tensor(history[: len(found.objective)]), 1e-9)


def test_one_pass_a_step():
    """Forward passes, counted in examples: K for the first centres, then N a step where factors are not kept, and nothing where they are."""
    model, x, y = problem(images, 20)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    source(model, x, y)(torch.arange(4))  # the check of the model
    source(model, x, y)(None)
    for memory, number in ((20_000, 4 + 4 * 20), (1 << 30, 4 + 20)):
        gradients = source(model, x, y, memory=memory, chunk=10)
        seen.clear()
        factored_lloyd(gradients, 4, steps=4, sizes="running", refill="none", generator=generator())
        assert sum(seen) == number


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_clusters": 7}, InvalidInput, "num_clusters must be at most the number of examples; 7 came for 6"),
        ({"num_clusters": 0}, InvalidInput, "num_clusters must be a whole number of at least 1"),
        ({"rank": 2}, InvalidInput, "rule 'mean' has rank 1; rank 2 came"),
        ({"rule": "median"}, NotFound, "unknown rule 'median'"),
        ({"parameters": ["3.weight"]}, NotFound, "unknown parameter '3.weight'"),
        ({"start": torch.full((6,), 2)}, InvalidInput, r"start must be \(6,\) whole numbers from 0 to 1"),
    ],
)
def test_refusals(settings, error, message):
    settings = {"num_clusters": 2, "generator": generator()} | settings
    with pytest.raises(error, match=message):
        factored_lloyd(source(*problem()), settings.pop("num_clusters"), **settings)
