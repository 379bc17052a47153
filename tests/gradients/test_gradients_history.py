# ruff: noqa: E501, E731  (tables of cases and messages, one line each)
"""Histories against loops over the same mini-batches, laws of the draws, and unbiasedness."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from torch import nn
from twins import case, cross_entropy, generator, loop, seeded, size

from sgdscope.errors import InvalidInput
from sgdscope.gradients import draw_batches, gradient_history
from sgdscope.gradients.history import weights_are_cheaper


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", [1 << 30, 20_000])
@pytest.mark.parametrize("method", ["auto", "weights", "batches"])
@pytest.mark.parametrize("scheme", [{}, {"replacement": True}, {"epochs": True}], ids=["without", "with", "epochs"])
@pytest.mark.parametrize(("batch_size", "num_draws"), [(1, 5), (1, 40), (3, 7), (11, 4)])
def test_the_loop(batch_size, num_draws, scheme, method, memory):
    model, x, y = case("cnn", number=11)
    rows = loop(model, cross_entropy, x, y)
    batches = draw_batches(11, batch_size, num_draws, generator=generator(3), **scheme)
    expected = torch.stack([rows[batch].mean(0) for batch in batches])
    found = gradient_history(
        model,
        cross_entropy,
        x,
        y,
        batch_size=batch_size,
        num_draws=num_draws,
        generator=generator(3),
        method=method,
        memory=memory,
        **scheme,
    )
    close(found, expected)


def test_dicts_and_a_frozen_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.line = nn.Embedding(9, 3), nn.Linear(3, 2)

        def forward(self, tokens):
            return self.line(self.words(tokens).sum(1))

    model = seeded(Net)
    model.words.requires_grad_(False)
    x, y = {"tokens": torch.arange(24).view(8, 3) % 9}, {"labels": torch.arange(8) % 2}
    assert size(x) == 8
    loss = lambda outputs, y: cross_entropy(outputs, y["labels"])  # noqa: E731
    rows = loop(model, loss, x, y)
    for method in ("weights", "batches"):
        found = gradient_history(model, loss, x, y, batch_size=3, num_draws=4, generator=generator(), method=method)
        close(found, torch.stack([rows[batch].mean(0) for batch in draw_batches(8, 3, 4, generator=generator())]))


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 20), st.integers(0, 99))
def test_laws_of_the_draws(examples, batch, number, seed):
    with_replacement = draw_batches(examples, batch, number, generator=generator(seed), replacement=True)
    assert with_replacement.shape == (number, batch) and 0 <= int(with_replacement.min()) <= int(with_replacement.max()) < examples
    if batch > examples:
        with pytest.raises(InvalidInput, match="batch_size must be at most the number of examples without replacement"):
            draw_batches(examples, batch, number, generator=generator(seed))
        return
    subsets = draw_batches(examples, batch, number, generator=generator(seed))
    epochs = draw_batches(examples, batch, number, generator=generator(seed), epochs=True)
    for drawn in (subsets, epochs):
        assert drawn.shape == (number, batch) and all(len(set(row)) == batch for row in drawn.tolist())
        assert torch.equal(drawn, draw_batches(examples, batch, number, generator=generator(seed), epochs=drawn is epochs))
    steps = examples // batch
    for epoch in epochs.split(steps):
        assert len(set(epoch.flatten().tolist())) == epoch.numel()


@pytest.mark.parametrize("scheme", [{}, {"replacement": True}, {"epochs": True}], ids=["without", "with", "epochs"])
def test_unbiased_with_the_stated_covariance(scheme):
    """Rows have the mean gradient as mean; the trace of their covariance is tr C / B, times (N - B)/(N - 1) without replacement."""
    examples, batch, number = 12, 4, 6000
    model, x, y = case("mlp", number=examples)
    rows = loop(model, cross_entropy, x, y)
    found = gradient_history(model, cross_entropy, x, y, batch_size=batch, num_draws=number, generator=generator(5), **scheme)
    trace = float((rows - rows.mean(0)).square().sum(1).mean()) / batch
    if "replacement" not in scheme:
        trace *= (examples - batch) / (examples - 1)
    deviation = found - rows.mean(0)
    assert float(deviation.square().sum(1).mean()) == pytest.approx(trace, rel=0.1)
    assert float(deviation.mean(0).square().sum()) < 4 * trace / number
    if "epochs" in scheme:  # the batches of one epoch average to the mean
        close(found.view(-1, 3, found.shape[1]).mean(1), rows.mean(0).expand(2000, -1))


def test_out_and_seed():
    model, x, y = case("mlp", number=9)
    settings = {"batch_size": 4, "num_draws": 3}
    out = torch.full((3, sum(p.numel() for p in model.parameters())), 7.0, dtype=torch.float64)
    found = gradient_history(model, cross_entropy, x, y, generator=generator(1), out=out, **settings)
    assert found is out and torch.equal(found, gradient_history(model, cross_entropy, x, y, generator=generator(1), **settings))
    assert not torch.equal(found, gradient_history(model, cross_entropy, x, y, generator=generator(2), **settings))
    state = torch.get_rng_state()
    gradient_history(model, cross_entropy, x, y, generator=generator(1), **settings)
    assert torch.equal(state, torch.get_rng_state())


def test_the_cheaper_method():
    lenet = {"num_examples": 60_000, "size": 61_706, "work": 3 * 420_000}
    assert weights_are_cheaper(batch_size=10_000, num_draws=5000, **lenet)
    assert not weights_are_cheaper(batch_size=128, num_draws=5000, **lenet)
    assert not weights_are_cheaper(batch_size=128, num_draws=10, **lenet)


CALLS = [
    ({"batch_size": 7}, "batch_size must be at most the number of examples without replacement; 7 came for 6.*replacement=True"),
    ({"batch_size": 0}, "batch_size must be a whole number of at least 1; 0 came"),
    ({"num_draws": 2.0}, r"num_draws must be a whole number of at least 1; 2\.0 came"),
    ({"generator": 3}, "generator must be a torch.Generator; int came"),
    ({"replacement": True, "epochs": True}, "both came"),
    ({"method": "fast"}, "method must be one of auto, weights, batches; 'fast' came"),
    ({"out": torch.zeros(2, 2)}, r"out must be \(2, \d+\) of torch.float64"),
]


@pytest.mark.parametrize(("change", "message"), CALLS)
def test_refusals(change, message):
    model, x, y = case("mlp")
    settings = {"batch_size": 2, "num_draws": 2, "generator": generator()} | change
    with pytest.raises(InvalidInput, match=message):
        gradient_history(model, "cross_entropy", x, y, **settings)
    with pytest.raises(InvalidInput, match="batch norm must use fixed statistics"):
        model, x, y = case("norms")
        gradient_history(model.train(), "cross_entropy", x, y, batch_size=2, num_draws=2, generator=generator())
