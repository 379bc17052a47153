"""Small problems that the tests of training share, and the loop by hand."""

import torch
from torch import nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.training import Batches, train


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def seeded(build, seed=0, dtype=torch.float64):
    """A model with its default initialisation from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().to(dtype)


def dense():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def normed():
    """With batch norm, on images."""
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


def problem(build=dense, number=23, dtype=torch.float64):
    """Model, inputs, labels of 3 classes."""
    x = normal(number, *((5,) if build is dense else (2, 6, 6)), dtype=dtype)
    return seeded(build, dtype=dtype), x, torch.randint(3, (number,), generator=generator(1))


def flat(model):
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def run(build=dense, loss="cross_entropy", **settings):
    """All snapshots of a run, the parameters at each, and the model."""
    model, x, y = problem(build)
    settings = {"learning_rate": 0.1, "batch_size": 4, "num_steps": 9} | settings
    points = [(point, flat(model)) for point in train(model, loss, x, y, **settings)]
    return [point for point, _ in points], [parameters for _, parameters in points], model


def by_hand(
    model, x, y, *, learning_rate, batch_size, num_steps, momentum=0.0, weight_decay=0.0, seed=0, augment=None, train_mode=True, **sampling
):
    """The loop that everybody writes, over the same batches: (batch, loss, gradient norm, parameters after) a step."""
    batches = Batches(len(x), batch_size, generator=stream_generator(seed, "batches"), **sampling)
    noise = stream_generator(seed, "augment")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum, weight_decay=weight_decay)
    done = []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step) if callable(learning_rate) else learning_rate
        model.train(train_mode)
        batch = batches.next()
        inputs = x[batch] if augment is None else augment(x[batch], noise)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), y[batch])
        loss.backward()
        norm = torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()]).norm()
        optimizer.step()
        done.append((batch, loss.item(), norm.item(), flat(model)))
    return done
