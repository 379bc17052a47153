"""Slow, obviously right twins of the spectra: dense covariances, Hessians by two loops of autograd, matrices with a known spectrum."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def dense_covariance(rows, centered=True):
    """(d, d), term by term, in float64."""
    rows = rows.double()
    mean = rows.mean(0) if centered else torch.zeros_like(rows[0])
    return sum(torch.outer(row - mean, row - mean) for row in rows) / len(rows)


def cross_entropy(outputs, y):
    return F.cross_entropy(outputs, y, reduction="none")


def one_of(x, i):
    return {key: one_of(value, i) for key, value in x.items()} if isinstance(x, dict) else x[i : i + 1]


def dense_hessian(model, loss, x, y):
    """(d, d) of the mean loss over the trainable parameters: example by example, one backward pass an entry of its gradient."""
    values = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters() if p.requires_grad}

    def backward(output):
        if not output.requires_grad:
            return torch.zeros(sum(v.numel() for v in values.values()), dtype=output.dtype)
        parts = torch.autograd.grad(output, values.values(), create_graph=True, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(v) if part is None else part).flatten() for part, v in zip(parts, values.values(), strict=True)]
        )

    total = 0
    with sdpa_kernel(SDPBackend.MATH):
        for i in range(len(y)):
            one = one_of(x, i)
            outputs = functional_call(model, values, (), one) if isinstance(x, dict) else functional_call(model, values, (one,))
            total = total + torch.stack([backward(entry) for entry in backward(loss(outputs, y[i : i + 1]).sum())]).detach()
    return total / len(y)


def with_spectrum(values, seed=0):
    """A dense symmetric matrix with these eigenvalues and random eigenvectors."""
    values = torch.as_tensor(values, dtype=torch.float64)
    vectors = torch.linalg.qr(normal(len(values), len(values), seed=seed)).Q
    matrix = (vectors * values) @ vectors.T
    return (matrix + matrix.T) / 2


class Steps(nn.Module):
    """Forward from a function of (self, x), layers from keywords."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._steps = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args, **kwargs):
        return self._steps(self, *args, **kwargs)


def seeded(build, seed=0, dtype=torch.float64):
    """A model with its default initialisation from a seed, biases and norms moved away from zero and one, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build().to(dtype)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def tied():
    model = Steps(lambda self, x: self.second(self.first(x).tanh()), first=nn.Linear(3, 3), second=nn.Linear(3, 3))
    model.second.weight = model.first.weight
    return model


def frozen():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    model[2].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return model


def recurrent(kind):
    return lambda: Steps(lambda self, x: self.head(self.cell(x)[0][:, -1]), cell=kind(3, 3, batch_first=True), head=nn.Linear(3, 3))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0]).mean(1)


def fused_attention(self, x):
    return self.head(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), is_causal=True)).mean(1)


MODELS = {  # name: (build, shape of an example)
    "mlp": (mlp, (3,)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        (1, 4, 4),
    ),
    "lstm": (recurrent(nn.LSTM), (4, 3)),
    "gru": (recurrent(nn.GRU), (4, 3)),
    "attention": (Attention, (3, 4)),
    "fused attention": (
        lambda: Steps(fused_attention, q=nn.Linear(3, 4), k=nn.Linear(3, 4), v=nn.Linear(3, 4), head=nn.Linear(4, 3)),
        (3, 3),
    ),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3)), (3,)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)), (3,)),
    "tied": (tied, (3,)),
    "frozen": (frozen, (3,)),
    "unused": (lambda: Steps(lambda self, x: self.used(x), unused=nn.Linear(2, 2), used=nn.Linear(3, 3)), (3,)),
}


def case(name, number=5, dtype=torch.float64):
    build, shape = MODELS[name]
    return seeded(build, dtype=dtype), normal(number, *shape, seed=1, dtype=dtype), torch.arange(number) % 3


class Quadratic(nn.Module):
    """``x theta^T matrix theta / 2`` of a bare parameter theta."""

    def __init__(self, matrix):
        super().__init__()
        self.theta = nn.Parameter(normal(len(matrix), seed=3).to(matrix))
        self.register_buffer("matrix", matrix)

    def forward(self, x):
        return x[:, 0] * (self.theta @ self.matrix @ self.theta) / 2


def itself(outputs, y):
    return outputs


def quadratic(matrix):
    """A model, loss, x and y whose Hessian is ``matrix``: two examples that weigh 1/2 and 3/2."""
    x = torch.tensor([[0.5], [1.5]]).to(matrix)
    return Quadratic(matrix).to(matrix.device), itself, x, x
