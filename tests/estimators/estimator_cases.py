"""A small network with data, per-example gradients by a loop, and moments over all outcomes of an estimator."""

import torch
from torch import nn


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def dense():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))


def images():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def normed():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


def seeded(build, seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().to(dtype)


def problem(build=dense, number=6, dtype=torch.float64):
    """Model, inputs, labels of 3 classes."""
    x = normal(number, *((4,) if build is dense else (2, 6, 6)), seed=1, dtype=dtype)
    return seeded(build, dtype=dtype), x, torch.randint(3, (number,), generator=generator(2))


def rows_of(model, x, y):
    """(N, d) by one backward pass an example."""
    rows = []
    for i in range(len(x)):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    return torch.stack(rows)


def scatter(rows):
    """Trace of the covariance (1/N) of some rows."""
    return (rows - rows.mean(0)).square().sum() / len(rows)


def over_outcomes(estimator, model, x, y):
    """Mean (d,) and trace of the covariance of an estimator over all that it can draw, each through `estimate`."""
    index, weights = estimator.outcomes(len(x))
    found = []
    for draw in zip(index, weights, strict=True):
        estimator.draw = lambda number, generator, draw=draw: draw
        found.append(estimator.estimate(model, "cross_entropy", x, y, generator=torch.Generator()))
    del estimator.draw
    found = torch.stack(found)
    return found.mean(0), scatter(found)


def close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * 1e-2)
