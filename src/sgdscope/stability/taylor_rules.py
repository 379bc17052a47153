"""Taylor rules of the functions that are linear in each of their arguments, see `sgdscope.stability.taylor`.

| functions | rule |
| --- | --- |
| shapes, comparisons, new constants | of x0, without derivatives |
| views, sums, means, average pooling: linear in one tensor | each coefficient by itself |
| addition, concatenation, padding: affine | the same, constants in x0 only |
| linear, convolution, products: bilinear | product rule; a convolution takes weights and direction in one call |
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdscope.stability.taylor import NoRule, Series, coefficients, constant, nth, product, rule

rule(
    *("shape", "ndim", "dtype", "device", "is_cuda", "requires_grad", "layout", "is_nested", "is_sparse", "is_quantized", "names"),
    *("size", "dim", "__len__", "numel", "nelement", "ndimension", "is_floating_point", "is_complex", "is_contiguous", "stride"),
    *("gt", "ge", "lt", "le", "eq", "ne", "isnan", "isinf", "isfinite", "sign", "argmax", "argmin"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"),
)(constant)


@rule("detach")
def _detach(func: Callable, x: Series) -> Tensor:
    x.shared = True
    return x.series[0].detach()


@rule(
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "permute", "transpose", "movedim", "T", "mT", "t"),
    *("view_as", "expand_as", "reshape_as", "__getitem__", "narrow", "select", "unbind", "chunk", "split", "index_select"),
    *(
        "contiguous",
        "clone",
        "neg",
        "roll",
        "flip",
        "repeat",
        "repeat_interleave",
        "tile",
        "sum",
        "mean",
        "cumsum",
        "diagonal",
        "gather",
        "unfold",
    ),
    *("to", "type_as", "float", "double"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
)
def linear_in_one(func: Callable, x: object, *args: object, **kwargs: object) -> object:
    """A linear function of its first argument."""
    if not isinstance(x, Series):
        raise NoRule(f"{func.__name__} of a constant by a series")
    args, kwargs = nth(args, 0), nth(kwargs, 0)  # a series may lend its shape, as in view_as
    parts = [None if c is None else func(c, *args, **kwargs) for c in x.series]
    memory = x.series[0].untyped_storage().data_ptr()

    def join(y0: Tensor, y1: Tensor | None, y2: Tensor | None) -> Tensor:
        if not y0.is_floating_point():
            raise NoRule(f"{func.__name__} to {y0.dtype}")
        shared = y0.untyped_storage().data_ptr() == memory
        x.shared = x.shared or shared
        return Series.of(y0, y1, y2, shared=shared)

    if isinstance(parts[0], Tensor):
        return join(*parts)
    none = [None] * len(parts[0])
    return tuple(join(*items) for items in zip(*(none if part is None else part for part in parts), strict=True))


@rule("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
def _dropout(func: Callable, x: Series, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if training and p > 0:
        raise NoRule("dropout is active")
    return x


@rule("embedding")
def _embedding(func: Callable, index: Tensor, weight: Series, *args: object, **kwargs: object) -> Tensor:
    return Series.of(*(None if c is None else func(index, c, *args, **kwargs) for c in coefficients(weight)))


def _sum(func: Callable, a: object, b: object, sign: int, alpha: object) -> Tensor:
    a, b = coefficients(a), coefficients(b)
    y0 = func(a[0], b[0]) if alpha == 1 else func(a[0], b[0], alpha=alpha)

    def of(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None and b is None:
            return None
        if b is None:
            return a.expand_as(y0)
        b = b if sign * alpha == 1 else sign * alpha * b
        return b.expand_as(y0) if a is None else a + b

    return Series.of(y0, of(a[1], b[1]), of(a[2], b[2]))


@rule("add", "__radd__")
def _add(func: Callable, a: object, b: object, *, alpha: object = 1) -> Tensor:
    return _sum(func, a, b, 1, alpha)


@rule("sub", "subtract")
def _subtract(func: Callable, a: object, b: object, *, alpha: object = 1) -> Tensor:
    return _sum(func, a, b, -1, alpha)


@rule("__rsub__", "rsub")
def _subtract_from(func: Callable, a: object, b: object, *, alpha: object = 1) -> Tensor:
    return _sum(torch.sub, b, a, -1, alpha)


@rule("cat", "concat", "stack")
def _join(func: Callable, tensors: object, dim: int = 0) -> Tensor:
    parts = [coefficients(tensor) for tensor in tensors]
    orders = [func([part[0] for part in parts], dim)]
    for n in (1, 2):
        some = any(part[n] is not None for part in parts)
        orders.append(func([torch.zeros_like(part[0]) if part[n] is None else part[n] for part in parts], dim) if some else None)
    return Series.of(*orders)


@rule("pad")
def _pad(func: Callable, x: Series, pad: object, mode: str = "constant", value: float | None = None) -> Tensor:
    x0, *derivatives = x.series
    return Series.of(func(x0, pad, mode, value), *(None if c is None else func(c, pad, mode) for c in derivatives))


@rule("masked_fill")
def _masked_fill(func: Callable, x: Series, mask: Tensor, value: object) -> Tensor:
    if isinstance(mask, Series) or isinstance(value, Series):
        raise NoRule("masked_fill by a series")
    x0, *derivatives = x.series
    return Series.of(func(x0, mask, value), *(None if c is None else func(c, mask, 0) for c in derivatives))


@rule("mul", "multiply", "__rmul__")
def _multiply(func: Callable, a: object, b: object) -> Tensor:
    return product(lambda a, b, _: a * b, a, b)


@rule("matmul", "__rmatmul__", "bmm", "mm")
def _matmul(func: Callable, a: object, b: object) -> Tensor:
    return product(lambda a, b, _: func(a, b), a, b)


@rule("linear")
def _linear(func: Callable, input: object, weight: object, bias: object = None) -> Tensor:
    return product(F.linear, input, weight, bias)


@rule("conv1d", "conv2d", "conv3d")
def _convolution(
    func: Callable,
    input: object,
    weight: object,
    bias: object = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: int = 1,
) -> Tensor:
    def op(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return func(x, w, b, stride, padding, dilation, groups)

    (w0, w1, w2), (b0, b1, b2), x = coefficients(weight), coefficients(bias), coefficients(input)
    if groups != 1 or w1 is None or w2 is not None or b2 is not None or (b0 is not None and b1 is None):
        return product(op, input, weight, bias)
    both, channel, channels = torch.cat([w0, w1]), w0.dim() - 1, w0.shape[0]
    one, into_next = op(x[0], both, None if b0 is None else torch.cat([b0, b1])).split(channels, -channel)
    if x[1] is None:
        return Series.of(one, into_next)
    two, into_last = op(x[1], both, None).split(channels, -channel)
    last = into_last if x[2] is None else op(x[2], w0, None).add_(into_last)
    return Series.of(one, into_next + two, last)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(func: Callable, input: object, weight: object, bias: object = None, *settings: object, **more: object) -> Tensor:
    return product(lambda x, w, b: func(x, w, b, *settings, **more), input, weight, bias)


@rule("batch_norm")
def _batch_norm(
    func: Callable,
    input: object,
    mean: Tensor,
    var: Tensor,
    weight: object = None,
    bias: object = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or isinstance(mean, Series) or isinstance(var, Series):
        raise NoRule("batch norm by batch statistics")
    axes, inverse = (-1, *[1] * (coefficients(input)[0].dim() - 2)), torch.rsqrt(var + eps)
    scale = [None if c is None else c * inverse for c in coefficients(inverse.new_ones(()) if weight is None else weight)]
    shift = [None if c is None else -mean * c for c in scale]
    offset = coefficients(bias)
    shift = [s if o is None else (o if s is None else s + o) for s, o in zip(shift, offset, strict=True)]

    def over(values: list[Tensor | None]) -> Tensor:
        return Series.of(*(None if c is None else c.view(axes) for c in values))

    return product(lambda x, s, b: x * s if b is None else torch.addcmul(b, x, s), input, over(scale), over(shift))
