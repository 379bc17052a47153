"""The update against torch.optim.SGD, bit for bit."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import generator, seeded

from sgdscope.errors import InvalidInput
from sgdscope.training import SGD, Constant, Cosine, Drops, Warmup


def net():
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))


def matrices(name, parameter):
    return parameter.dim() > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("schedule", [Constant(0.3), Drops(0.5, steps=(7, 20)), Warmup(5, Cosine(0.4, 30, final=0.01))])
@pytest.mark.parametrize(
    ("momentum", "weight_decay", "decayed"),
    [(0.0, 0.0, None), (0.9, 0.0, None), (0.0, 5e-4, None), (0.9, 5e-4, None), (0.9, 0.1, matrices)],
)
def test_equals_torch_bit_for_bit(momentum, weight_decay, decayed, schedule, dtype):
    ours, theirs = seeded(net, dtype=dtype), seeded(net, dtype=dtype)
    sgd = SGD(ours, momentum=momentum, weight_decay=weight_decay, decayed=decayed)
    groups = [
        {"params": [p for n, p in theirs.named_parameters() if decayed is None or decayed(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in theirs.named_parameters() if not (decayed is None or decayed(n, p))], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], lr=1.0, momentum=momentum)
    draws = generator(3)
    for step in range(40):
        gradient = [torch.randn(parameter.shape, generator=draws, dtype=dtype) for parameter in ours.parameters()]
        rate = schedule(step, 0.0)
        sgd.step(gradient, rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, part in zip(theirs.parameters(), gradient, strict=True):
            parameter.grad = part.clone()
        optimizer.step()
        assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)), step


def test_the_given_gradient_stays_as_it_was():
    """Momentum and decay work on copies: a probe may hold the same gradient."""
    model = seeded(net)
    sgd = SGD(model, momentum=0.9, weight_decay=0.1)
    gradient = [torch.ones_like(parameter) for parameter in model.parameters()]
    for _ in range(3):
        sgd.step(gradient, 0.1)
    assert all((part == 1).all() for part in gradient)


def test_frozen_parameters_stay_and_need_no_gradient():
    model = seeded(net)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    sgd = SGD(model, momentum=0.9, weight_decay=0.1)
    assert len(sgd.parameters) == 4 and len(sgd.velocity) == 4
    sgd.step([torch.ones_like(parameter) for parameter in sgd.parameters], 0.1)
    assert torch.equal(model[0].weight, before) and not model[0].weight.requires_grad


def test_a_state_is_a_copy_and_restores_the_velocity():
    model = seeded(net)
    sgd = SGD(model, momentum=0.9)
    gradient = [torch.ones_like(parameter) for parameter in model.parameters()]
    sgd.step(gradient, 0.1)
    state = sgd.state()
    sgd.step(gradient, 0.1)
    assert torch.allclose(sgd.velocity[0], torch.full_like(sgd.velocity[0], 1.9))
    sgd.restore(state)
    assert all((velocity == 1).all() for velocity in sgd.velocity)
    assert SGD(model).state() == {"velocity": []}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum must be from 0 to below 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be from 0 to below 1"),
        ({"momentum": float("nan")}, "momentum must be from 0 to below 1, got nan"),
        ({"momentum": "0.9"}, "momentum must be from 0 to below 1, got '0.9'"),
        ({"weight_decay": -1e-4}, "weight_decay must be finite and not negative"),
        ({"weight_decay": float("inf")}, "weight_decay must be finite and not negative, got inf"),
        ({"decayed": "weight"}, "decayed must be a function of name and parameter, got 'weight'"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(InvalidInput, match=message):
        SGD(seeded(net), **settings)


def test_no_trainable_parameter():
    with pytest.raises(InvalidInput, match="must have trainable parameters; none of its 6 requires a gradient"):
        SGD(seeded(net).requires_grad_(False))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_as_torch():
    ours, theirs = seeded(net, dtype=torch.float32).cuda(), seeded(net, dtype=torch.float32).cuda()
    sgd, optimizer = (
        SGD(ours, momentum=0.9, weight_decay=0.01),
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
    )
    for step in range(10):
        gradient = [torch.randn(p.shape, generator=generator(step)).cuda() for p in ours.parameters()]
        sgd.step(gradient, 0.1)
        for parameter, part in zip(theirs.parameters(), gradient, strict=True):
            parameter.grad = part.clone()
        optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
