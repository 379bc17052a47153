"""Tensors that carry their first two derivatives along a line: ``x(t) = x0 + x1 t + x2 t^2``, pushed through a model by rules.

A `Series` is handed to a model in the place of its parameters. Each torch function that meets one is looked up, by its name, in `RULES`
(filled by `taylor_rules`, `taylor_functions` and `taylor_attention` beside this module) and gives a series again. A linear layer costs five
linear maps, where nested forward mode costs eight. What no rule can do raises `NoRule`; nothing is taken for a constant in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Signature, signature

import torch
from torch import Tensor

Coefficients = tuple[Tensor, Tensor | None, Tensor | None]
"""Taylor coefficients x0, x1, x2, of which x2 is *half* the second derivative; None is zero."""

RULES: dict[str, tuple[Callable, Signature]] = {}
"""Name of a torch function to ``rule(func, *args, **kwargs)`` and the arguments that the rule takes."""


OTHER = "any other"
"""The name under which `RULES` holds what is done with functions that are not named."""


class NoRule(Exception):
    """A function, or a way of calling it, for which there is no rule."""


class Series(Tensor):
    """A tensor x0 with Taylor coefficients (x0, x1, x2); shape, dtype and device are those of x0."""

    series: Coefficients
    shared: bool
    """Whether something else sees the memory of x0, so that it cannot be changed in place."""

    @staticmethod
    def of(x0: Tensor, x1: Tensor | None, x2: Tensor | None = None, *, shared: bool = False) -> Tensor:
        """The series, or the plain x0 where both derivatives are zero."""
        if x1 is None and x2 is None:
            return x0
        made = Tensor._make_wrapper_subclass(Series, x0.shape, dtype=x0.dtype, device=x0.device)
        made.series, made.shared = (x0, x1, x2), shared
        return made

    @classmethod
    def __torch_function__(cls, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None) -> object:
        name, kwargs = name_of(func), dict(kwargs or {})
        in_place = kwargs.pop("inplace", False)
        if name.endswith("_") and not name.endswith("__"):
            name, in_place = name[:-1], True
            func = getattr(Tensor, name, None)
        if not callable(func) or kwargs.get("out") is not None or (name not in RULES and (name.startswith("__") or is_attribute(func))):
            raise NoRule(f"{name} has no rule for Taylor series")
        apply, takes = RULES.get(name, RULES[OTHER])
        try:
            takes.bind(func, *args, **kwargs)
        except TypeError as error:
            raise NoRule(f"the rule of {name} says: {error}") from None
        if not torch.is_grad_enabled() and apply is not constant:  # torch.no_grad, or the forward of an autograd.Function
            raise NoRule(f"{name} has no rule where autograd is off")
        result = apply(func, *args, **kwargs)
        return _put(args[0], result) if in_place else result

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None) -> object:
        raise NoRule(f"{func} has no rule for Taylor series: it was called past the functions of Python")


def _put(target: object, result: object) -> Series:
    """``target``, which takes the values of ``result``."""
    if result is target:
        return target
    if not isinstance(target, Series) or not isinstance(result, Series) or target.shared or target.shape != result.shape:
        raise NoRule("in place on a constant, or on memory that something else sees")
    target.series = result.series
    return target


def name_of(func: Callable) -> str:
    """``relu`` for torch.relu, Tensor.relu and F.relu; ``shape`` for the attribute."""
    return func.__self__.__name__ if is_attribute(func) else getattr(func, "__name__", "")


def is_attribute(func: Callable) -> bool:
    """Whether it is the reading of an attribute, such as ``shape``."""
    return getattr(func, "__name__", "") == "__get__"


def rule(*names: str) -> Callable[[Callable], Callable]:
    """Registers a rule under the names of its torch functions."""

    def register(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(names, (function, signature(function))))
        return function

    return register


def coefficients(value: object) -> Coefficients:
    """(x0, x1, x2) of a series; a constant has no derivatives."""
    return value.series if isinstance(value, Series) else (value, None, None)


def nth(value: object, n: int) -> object:
    """The nth coefficient in a nest of tuples, lists and dicts; what is no series stays as it is."""
    if isinstance(value, Series):
        return value.series[n]
    if isinstance(value, tuple | list):
        return type(value)(nth(item, n) for item in value)
    return {key: nth(item, n) for key, item in value.items()} if isinstance(value, dict) else value


def constant(func: Callable, *args: object, **kwargs: object) -> object:
    """``func`` of the values, without derivatives: shapes and comparisons."""
    return func(*nth(args, 0), **nth(kwargs, 0))


def product(op: Callable, a: object, b: object, bias: object = None) -> Tensor:
    """Series of a bilinear ``op(a, b, bias)``, which adds the bias where it gets one: the product rule."""
    a, b, offsets, orders = coefficients(a), coefficients(b), coefficients(bias), []
    for n, offset in enumerate(offsets):
        total = None
        for i in range(n + 1):
            if a[i] is not None and b[n - i] is not None:
                total = op(a[i], b[n - i], offset) if total is None else total.add_(op(a[i], b[n - i], None))
        orders.append(op(a[0], torch.zeros_like(b[0]), offset) if total is None and offset is not None else total)
    return Series.of(*orders)
