# ruff: noqa: E501, E731  (tables of cases and messages, one line each)
"""Slow, obviously right twins of the per-example gradients, and the models that are tried."""

import torch
import torch.nn.functional as F
from torch import nn


def cross_entropy(outputs, y):
    return F.cross_entropy(outputs, y, reduction="none")


def half_squares(outputs, y):
    return outputs.flatten(1).square().sum(1) / 2 + outputs.flatten(1).sin().sum(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def seeded(build, seed=0, dtype=torch.float64):
    """A model with its default initialisation from a seed, biases and norms moved away from zero and one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build().to(dtype)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def take(data, i):
    return {key: take(value, i) for key, value in data.items()} if isinstance(data, dict) else data[i : i + 1]


def size(data):
    return size(next(iter(data.values()))) if isinstance(data, dict) else len(data)


def loop(model, loss, x, y):
    """(N, d) by one autograd.grad an example."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(size(y)):
        one = take(x, i)
        outputs = model(**one) if isinstance(one, dict) else model(one)
        gradients = torch.autograd.grad(loss(outputs, take(y, i)).sum(), parameters, allow_unused=True)
        rows.append(
            torch.cat(
                [torch.zeros_like(p).flatten() if g is None else g.to_dense().flatten() for g, p in zip(gradients, parameters, strict=True)]
            )
        )
    return torch.stack(rows)


class Steps(nn.Module):
    """Forward from a function of (self, x), layers from keywords."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._steps = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args, **kwargs):
        return self._steps(self, *args, **kwargs)


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4)
    )


def transformer():
    return Steps(
        lambda self, tokens: self.head(self.encoder(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))).mean(1)),
        tokens=nn.Embedding(11, 8, padding_idx=0),
        places=nn.Embedding(6, 8),
        encoder=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        head=nn.Linear(8, 4),
    )


class WithToken(nn.Module):
    """Parameters of its own beside layers, as the class token of a vision transformer."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 5))
        self.scale = nn.Parameter(torch.ones(5))
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), x * self.scale], 1)
        return self.layer(x).tanh().sum(1)


def recurrent(kind, **settings):
    return lambda: Steps(
        lambda self, x: self.head(self.cell(x)[0][:, -1]), cell=kind(5, 6, batch_first=True, **settings), head=nn.Linear(6, 4)
    )


def tied():
    """Two modules that hold one weight, both called."""
    model = Steps(lambda self, x: self.second(self.first(x).tanh()), first=nn.Linear(4, 4), second=nn.Linear(4, 4))
    model.second.weight = model.first.weight
    return model


def tied_embedding():
    """A word model that reads its embedding as its last layer, both called."""
    model = Steps(lambda self, tokens: self.decoder(self.tokens(tokens).mean(1)), tokens=nn.Embedding(4, 6), decoder=nn.Linear(6, 4))
    model.decoder.weight = model.tokens.weight
    return model


def reused():
    """A linear layer over sequences of two lengths, and a convolution on two sizes."""

    def forward(self, x):
        once = self.conv(x).tanh()  # (N, 2, 6, 6)
        twice = self.conv(F.avg_pool2d(once, 2)).tanh()  # another size
        rows = self.line(once).sin().flatten(2).mean(2) + self.line(self.line(once[:, :, :3]).tanh()).flatten(2).mean(2)
        return torch.cat([rows, twice.flatten(1)[:, :2]], 1)

    return Steps(forward, conv=nn.Conv2d(2, 2, 3, padding=1), line=nn.Linear(6, 6))


def same_convolution_twice():
    return Steps(lambda self, x: self.conv(self.conv(x).tanh()).flatten(1), conv=nn.Conv2d(2, 2, 3, padding=1))


def frozen_first():
    model = mlp()
    model[1].requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model


def partly_unused():
    return Steps(lambda self, x: self.used(x), used=nn.Linear(12, 4), unused=nn.Linear(3, 3))


def weight_norm():
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(144, 4))
    )


def norms():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 4)
    )


class Attention(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return self.head(mixed).mean(1 if self.batch_first else 0)


class TimeFirst(nn.Module):
    """Layers whose inputs are (T, N, I)."""

    def __init__(self):
        super().__init__()
        self.line, self.cell = nn.Linear(5, 4), nn.LSTM(4, 4)

    def forward(self, x):
        return self.cell(self.line(x.transpose(0, 1)).tanh())[0].sum(0)


class Flattened(nn.Module):
    """Positions beside the examples along one axis."""

    def __init__(self):
        super().__init__()
        self.line, self.conv = nn.Linear(5, 9), nn.Conv2d(1, 4, 2)

    def forward(self, x):
        maps = self.line(x.flatten(0, 1)).tanh().view(-1, 1, 3, 3)  # (N T, 1, 3, 3)
        return self.conv(maps).view(len(x), -1, 4, 2, 2).sin().sum((1, 3, 4))


class Temperature(nn.Module):
    """A learned number that scales the outputs, as in contrastive models."""

    def __init__(self):
        super().__init__()
        self.line, self.temperature = nn.Linear(4, 4), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.line(x).tanh() * self.temperature.exp()


CASES = {  # name: (build, shape of one example's x, or the number of tokens and the length)
    "lenet": (lenet, (1, 28, 28)),
    "mlp": (mlp, (3, 4)),
    "cnn": (cnn, (3, 8, 8)),
    "linear on sequences": (lambda: Steps(lambda self, x: self.b(self.a(x).tanh()).mean(1), a=nn.Linear(5, 6), b=nn.Linear(6, 4)), (3, 5)),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)),
        (3, 8),
    ),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(54, 4)), (1, 4, 4, 4)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.Flatten(), nn.Linear(147, 4)), (2, 3, 3)),
    "lstm": (recurrent(nn.LSTM, num_layers=2, bidirectional=False), (7, 5)),
    "gru": (recurrent(nn.GRU), (7, 5)),
    "rnn": (recurrent(nn.RNN, nonlinearity="tanh"), (7, 5)),
    "time first": (TimeFirst, (7, 5)),
    "flattened": (Flattened, (7, 5)),
    "attention": (lambda: Attention(True), (5, 6)),
    "attention, time first": (lambda: Attention(False), (5, 6)),
    "transformer": (transformer, (11, 6)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(50, 6, padding_idx=0), nn.Flatten(), nn.Linear(24, 4)), (50, 4)),
    "norms": (norms, (3, 8, 8)),
    "instance norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.PReLU(), nn.Flatten(), nn.Linear(144, 4)),
        (3, 8, 8),
    ),
    "own parameters": (WithToken, (3, 5)),
    "temperature": (Temperature, (4,)),
    "bilinear": (lambda: Steps(lambda self, x: self.b(x, x), b=nn.Bilinear(5, 5, 4)), (5,)),
    "tied modules": (tied, (4,)),
    "tied embedding": (tied_embedding, (4, 3)),
    "reused layers": (reused, (2, 6, 6)),
    "same convolution twice": (same_convolution_twice, (2, 5, 5)),
    "frozen layers": (frozen_first, (3, 4)),
    "unused layer": (partly_unused, (12,)),
    "weight norm": (weight_norm, (3, 8, 8)),
}
TOKENS = {"transformer", "embedding", "tied embedding"}


def case(name, number=6, dtype=torch.float64):
    build, shape = CASES[name]
    model = seeded(build, dtype=dtype).eval()
    if name in TOKENS:
        words, length = shape
        x = torch.randint(words, (number, length), generator=generator(1))
    else:
        x = normal(number, *shape, seed=1, dtype=dtype)
    return model, x, torch.randint(4, (number,), generator=generator(2))
