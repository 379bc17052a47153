"""Taylor rules of the functions that are not linear: activations, max-pooling, softmax, cross entropy; see `sgdscope.stability.taylor`.

Those that take most of the time have their formulas here; the others run forward mode twice on this one function (`by_forward_mode`). The
named ones are tested one by one. Any other function is tried too, but forward mode twice is silently wrong through some, such as
`torch.linalg.det` in PyTorch 2.13: who meets one has to check the result (`directional_curvature` does).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import jvp
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from sgdscope.stability.taylor import OTHER, NoRule, Series, constant, rule


@rule("relu")
def _relu(func: Callable, x: Series) -> Tensor:
    x0, *derivatives = x.series
    return Series.of(torch.relu(x0), *(None if c is None else torch.ops.aten.threshold_backward(c, x0, 0) for c in derivatives))


@rule("leaky_relu")
def _leaky_relu(func: Callable, x: Series, negative_slope: float = 0.01) -> Tensor:
    x0, *derivatives = x.series
    slopes = (None if c is None else torch.ops.aten.leaky_relu_backward(c, x0, negative_slope, False) for c in derivatives)
    return Series.of(F.leaky_relu(x0, negative_slope), *slopes)


@rule("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(func: Callable, input: Series, *settings: object, return_indices: bool = False, **named: object) -> Tensor:
    if return_indices:
        raise NoRule("max-pooling that returns indices")
    name, (x0, *derivatives) = func.__name__, input.series
    y0, index = getattr(F, name)(x0, *settings, return_indices=True, **named)
    space = int(name[-2])  # the index counts within the last one to three axes
    place = index.flatten(-space)
    return Series.of(y0, *(None if c is None else c.flatten(-space).gather(-1, place).view_as(y0) for c in derivatives))


def _tanh(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.tanh(x)
    slope = 1 - y * y
    return y, slope, -y * slope


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.sigmoid(x)
    slope = y * (1 - y)
    return y, slope, slope * (0.5 - y)


def _rsqrt(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.rsqrt(x)
    return y, -y / (2 * x), 0.375 * y / (x * x)


def _exp(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.exp(x)
    return y, y, y / 2


SMOOTH = {"tanh": _tanh, "sigmoid": _sigmoid, "rsqrt": _rsqrt, "exp": _exp, "square": lambda x: (x * x, 2 * x, torch.ones_like(x))}
"""Name to x -> (f, f', f'' / 2)."""


@rule(*SMOOTH)
def _smooth(func: Callable, x: Series) -> Tensor:
    x0, x1, x2 = x.series
    value, slope, bend = SMOOTH[func.__name__](x0)
    if x1 is None:
        return Series.of(value, None, slope * x2)
    curved = bend * x1 * x1
    return Series.of(value, slope * x1, curved if x2 is None else curved.addcmul_(slope, x2))


@rule("log_softmax")
def _log_softmax(func: Callable, x: Series, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    if dtype is not None:
        raise NoRule("log_softmax in another dtype")
    x0, x1, x2 = x.series
    y0 = torch.log_softmax(x0, dim)
    p = y0.exp()
    y1 = None if x1 is None else x1 - (p * x1).sum(dim, keepdim=True)
    y2 = None if x2 is None else x2 - (p * x2).sum(dim, keepdim=True)
    if y1 is not None:
        half = (p * y1 * y1).sum(dim, keepdim=True) / 2
        y2 = (-half).expand_as(y0) if y2 is None else y2 - half
    return Series.of(y0, y1, y2)


@rule("softmax")
def _softmax(func: Callable, x: Series, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    l0, l1, l2 = _log_softmax(func, x, dim, dtype=dtype).series
    y = l0.exp()  # l0 may be -inf, behind a mask; l1 and l2 are finite
    if l1 is None:
        return Series.of(y, None, y * l2)
    return Series.of(y, y * l1, y * (l2 + l1 * l1 / 2))


@rule("cross_entropy")
def _cross_entropy(func: Callable, input: Series, target: Tensor, ignore_index: int = -100, **settings: object) -> Tensor:
    plain = {"weight": None, "size_average": None, "reduce": None, "reduction": "none", "label_smoothing": 0.0}
    if settings != plain or target.dim() != 1 or input.dim() != 2:
        return by_forward_mode(func, input, target, ignore_index=ignore_index, **settings)
    ignored = target == ignore_index
    label = target.masked_fill(ignored, 0)[:, None]
    logarithms = _log_softmax(func, input, 1).series
    return Series.of(*(None if c is None else -c.gather(1, label)[:, 0].masked_fill(ignored, 0) for c in logarithms))


@rule(
    *(
        "log",
        "log1p",
        "expm1",
        "sqrt",
        "reciprocal",
        "sin",
        "cos",
        "pow",
        "erf",
        "abs",
        "clamp",
        "logsumexp",
        "div",
        "__rdiv__",
        "__rpow__",
    ),
    *(
        "gelu",
        "silu",
        "mish",
        "elu",
        "selu",
        "celu",
        "softplus",
        "log_sigmoid",
        "logsigmoid",
        "softsign",
        "hardtanh",
        "relu6",
        "hardswish",
        "prelu",
    ),
    *(
        "true_divide",
        "where",
        "bilinear",
        "group_norm",
        "einsum",
        "addmm",
        "baddbmm",
        "norm",
        "cumprod",
        "normalize",
        "amax",
        "var",
        "cosine_similarity",
    ),
)
def by_forward_mode(func: Callable, *args: object, **kwargs: object) -> Tensor:
    """The series of any one function with one result: forward mode of (x, x') -> (f, f') along (x', x'')."""
    leaves, shape = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Series)]

    def at(*values: Tensor) -> Tensor:
        given = list(leaves)
        for place, value in zip(places, values, strict=True):
            given[place] = value
        plain_args, plain_kwargs = tree_unflatten(given, shape)
        return func(*plain_args, **plain_kwargs)

    x0, x1, x2 = zip(*(leaves[place].series for place in places), strict=True)
    x1, x2 = ([torch.zeros_like(x) if c is None else c.contiguous() for x, c in zip(x0, part, strict=True)] for part in (x1, x2))
    number = len(places)
    (y0, y1), (_, twice) = jvp(lambda *both: jvp(at, both[:number], both[number:]), (*x0, *x1), (*x1, *(2 * c for c in x2)))
    return Series.of(y0, y1, twice / 2)


@rule(OTHER)
def _other(func: Callable, *args: object, **kwargs: object) -> object:
    """A function that is not named: its floating results by forward mode."""
    if func.__name__ in ("backward", "retain_grad", "register_hook"):
        raise NoRule(f"{func.__name__} is no function of values")
    outputs, form = tree_flatten(constant(func, *args, **kwargs))
    floating = [isinstance(output, Tensor) and output.is_floating_point() for output in outputs]
    if not any(floating) or not all(isinstance(output, Tensor) for output in outputs):
        raise NoRule(f"{func.__name__} gives {', '.join(type(output).__name__ for output in outputs)} without derivatives")
    for i in range(len(outputs)):
        if floating[i]:
            outputs[i] = by_forward_mode(lambda *a, i=i, **k: tree_leaves(func(*a, **k))[i], *args, **kwargs)
    for leaf in tree_leaves((args, kwargs, outputs)):
        if isinstance(leaf, Series):
            leaf.shared = True  # it may be a view
    return tree_unflatten(outputs, form)
