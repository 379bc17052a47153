"""Inputs and targets: tensors or nested dicts of tensors, examples first; checked once at the boundary, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, SgdscopeError

Examples: TypeAlias = "Tensor | Mapping[str, Examples]"
"""A tensor, or a (nested) dict of tensors, each with the examples along its first axis."""


def leaves(examples: Examples, name: str = "x") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors in it.

    Raises:
        InvalidInput: something else than tensors and dicts of tensors.
    """
    if isinstance(examples, Tensor):
        yield name, examples
    elif isinstance(examples, Mapping):
        for key, value in examples.items():
            yield from leaves(value, f"{name}[{key!r}]")
    else:
        raise InvalidInput(f"{name} must be a tensor or a (nested) dict of tensors; {type(examples).__name__} came. Convert it to tensors.")


def take(examples: Examples, index: slice | Tensor) -> Examples:
    """The examples of a slice (views) or of a tensor of indices (copies)."""
    if isinstance(examples, Tensor):
        return examples[index] if isinstance(index, slice) else examples.index_select(0, index)
    return {key: take(value, index) for key, value in examples.items()}


def num_examples(x: Examples, y: Examples | None = None) -> int:
    """N, the common length of all tensors along their first axis.

    Raises:
        InvalidInput: no tensors, no examples, or tensors of several lengths.

    >>> num_examples({"tokens": torch.zeros(3, 7), "lengths": torch.zeros(3)})
    3
    """
    tensors = list(leaves(x, "x"))
    if not tensors:
        raise InvalidInput("x must hold at least one tensor; an empty dict came.")
    tensors += [] if y is None else leaves(y, "y")
    sizes = {name: tensor.shape[0] if tensor.dim() else None for name, tensor in tensors}
    if None in sizes.values():
        without = next(name for name, size in sizes.items() if size is None)
        raise InvalidInput(f"examples lie along the first axis of each tensor; {without} has none. Pass shape (N, ...).")
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise InvalidInput(f"x and y must hold the same number of examples; {listed} came. Cut them to the same examples.")
    number = next(iter(sizes.values()))
    if number == 0:
        raise InvalidInput("x must hold at least one example; 0 came (empty data). Check the subset that was selected.")
    return number


def device_of(examples: Examples) -> torch.device:
    """Device of the first tensor."""
    return next(leaves(examples))[1].device


class RefusedByModel(InvalidInput):
    """Inputs that the model fails on; the error of the model is its cause."""


SHAPES, TYPES = ("shape", "size", "dimension", "channels"), ("type", "not implemented for")
"""Words of torch's errors about inputs that do not fit; of types "same dtype", "scalar type", "for 'Long'"."""


def call(model: nn.Module, x: Examples) -> object:
    """``model(x)``, or ``model(**x)`` for a dict.

    Raises:
        InvalidInput: the model fails with words about shapes or types; they are in the message, and the error is its cause.
    """
    try:
        return model(**x) if isinstance(x, Mapping) else model(x)
    except (RuntimeError, ValueError) as error:
        about_types = any(words in str(error) for words in TYPES)
        about_x = about_types or any(word in str(error) for word in SHAPES)
        if not about_x or isinstance(error, SgdscopeError | torch.OutOfMemoryError):
            raise
        tensors = list(leaves(x, "x"))
        whole = [f"{name} is {tensor.dtype}" for name, tensor in tensors if not tensor.is_floating_point()]
        if whole and about_types:
            raise RefusedByModel(
                f"x must have the dtype that the model takes; {', '.join(whole)} and the model fails: {error} "
                "Convert integers with x.float() (token ids belong into an Embedding)."
            ) from error
        listed = ", ".join(f"{name} {tuple(tensor.shape)} of {tensor.dtype}" for name, tensor in tensors)
        kinds = " and ".join(sorted({str(parameter.dtype) for parameter in model.parameters()}))
        raise RefusedByModel(
            f"x must have the shape and dtype that the model takes, whose parameters are of {kinds}; {listed} came and the model fails: {error}"
        ) from error


def check_examples(model: nn.Module, x: Examples, y: Examples) -> int:
    """N, the number of examples.

    Raises:
        InvalidInput: empty data, different numbers of examples, NaN or infinite values, mixed devices or floating dtypes.
    """
    tensors = [*leaves(x, "x"), *leaves(y, "y")]
    number = num_examples(x, y)
    _check_kinds(model, tensors)
    check_finite(x, y)
    return number


def check_finite(x: Examples, y: Examples) -> None:
    """Refuses examples that hold NaN or infinite values.

    Raises:
        InvalidInput: they do.
    """
    for name, tensor in [*leaves(x, "x"), *leaves(y, "y")]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).sum())
            raise InvalidInput(f"{name} must be finite; {bad} of {len(tensor)} examples hold NaN or infinite values. Drop or mend them.")


def _check_kinds(model: nn.Module, tensors: list[tuple[str, Tensor]]) -> None:
    """One device and one floating dtype in parameters, buffers, inputs and targets."""
    everything = [*model.named_parameters(), *model.named_buffers(), *tensors]
    for what, kinds, advice in (
        ("device", {name: tensor.device for name, tensor in everything}, "Move them with .to(device)."),
        (
            "floating dtype",
            {name: tensor.dtype for name, tensor in everything if tensor.is_floating_point()},
            "Convert them with .to(dtype).",
        ),
    ):
        if len(set(kinds.values())) > 1:
            first: dict[object, str] = {}
            for name, kind in kinds.items():
                first.setdefault(kind, name)
            listed = ", ".join(f"{name} on {kind}" if what == "device" else f"{name} of {kind}" for kind, name in first.items())
            raise InvalidInput(f"parameters, buffers, x and y must have one {what}; {listed} came. {advice}")
    for name, tensor in tensors:
        if tensor.is_complex():
            raise InvalidInput(f"{name} must be real; {tensor.dtype} came. Pass real and imaginary parts as two channels.")


def versions(x: Examples, y: Examples) -> list[tuple[str, Tensor, int]]:
    """Tensors with their counters of writes, to find out later whether somebody wrote into them."""
    return [(name, tensor, tensor._version) for name, tensor in [*leaves(x, "x"), *leaves(y, "y")]]


def check_versions(recorded: list[tuple[str, Tensor, int]]) -> None:
    """Refuses to go on with data that somebody wrote into.

    Raises:
        InvalidInput: a tensor has been written to since it was recorded.
    """
    for name, tensor, version in recorded:
        if tensor._version != version:
            raise InvalidInput(f"{name} must stay as it was when the gradients were taken; it was written to since. Pass a clone.")
