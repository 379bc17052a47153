"""Data that is computed: scikit-learn's digits, Gaussian inputs, inputs labelled by a random-features teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput

DEFAULT_EXAMPLES = {
    "gaussian": {"train": 100_000, "test": 1_024},  # luckmatters: 100,000 drawn once; 1,024 to evaluate
    "random_features": {"train": 1_000, "test": 10_000},  # gvar_code: 10,000 to test
}


def stream_generator(seed: int, *stream: str) -> torch.Generator:
    """A CPU generator for one named stream of a seed: other names give independent numbers."""
    text = "/".join((str(seed), *stream))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


def digits(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 8 x 8 digits.

    Returns:
        Images (N, 1, 8, 8) float32 in [0, 1] (the original counts 0 ... 16, divided by 16), labels (N,) int64, and their rows in the
        original: rows 4, 9, 14, ... are the test split, all others the train split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    held_out = np.arange(len(bunch.target)) % 5 == 4
    rows = np.flatnonzero(held_out if split == "test" else ~held_out)
    return (bunch.images[rows, None] / 16).astype(np.float32), bunch.target[rows].astype(np.int64), rows


def gaussian(
    num_examples: int, *, shape: tuple[int, ...] = (20,), std: float = 10.0, num_classes: int = 0, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Independent inputs from N(0, std^2), the GAUS data of the teacher-student paper (Sec. 6: std 10; 20 features, or 16 x 16 images).

    Args:
        num_examples: N.
        shape: of one input.
        std: standard deviation of each entry.
        num_classes: 0 for no labels (a teacher gives them), else labels are uniform and independent of the inputs.
        generator: on the CPU.

    Returns:
        x (N, *shape) float32, and y (N,) int64 or None.

    Raises:
        InvalidInput: a shape that is not a tuple of positive integers, a std that is not positive and finite, a negative num_classes.
    """
    check_gaussian(shape, std, num_classes)
    x = std * torch.randn(num_examples, *shape, generator=generator)
    return x, torch.randint(num_classes, (num_examples,), generator=generator) if num_classes else None


def gaussian_stream(batch_size: int, *, shape: tuple[int, ...] = (20,), std: float = 10.0, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless fresh batches (batch_size, \\*shape) from N(0, std^2): the paper's "infinite number of samples".

    Raises:
        InvalidInput: as `gaussian`, or a batch size below 1.
    """
    check_gaussian(shape, std, 0)
    if batch_size < 1:
        raise InvalidInput(f"batch_size must be at least 1, got {batch_size}.")
    return (std * torch.randn(batch_size, *shape, generator=generator) for _ in iter(int, 1))


def random_features(
    num_examples: int,
    *,
    split: str = "train",
    dimension: int = 100,
    teacher_hidden: int = 100,
    definition: Literal["paper", "authors_code"] = "paper",
    num_train: int | None = None,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Inputs from N(0, I) with labels from a random ReLU teacher.

    ``paper`` (Faghri et al., Sec. 4.2): y = sign(relu(x^T theta_1)^T theta_2 + b), all entries of theta_1 (I, h_t), theta_2 (h_t,) and b
    standard normal, each column of theta_1 scaled to length 1. The classes can be far from balanced, as b and theta_2 happen to fall.

    ``authors_code``: theta_1 uniform on +-1/sqrt(I), theta_2 and b uniform on +-1/sqrt(h_t), and the label is the sign of the output minus
    its mean over the training set, which keeps the classes nearly balanced.

    Args:
        num_examples: N.
        split: ``train`` and ``test`` have one teacher and independent inputs.
        dimension: I.
        teacher_hidden: h_t.
        definition: see above.
        num_train: size of the training set; needed for the test split of ``authors_code``, whose labels are centred on the training mean.
        seed: of the teacher and the inputs.

    Returns:
        x (N, I) float32, y (N,) int64: 0 for -1, 1 for +1.

    Raises:
        InvalidInput: a size below 1, an unknown definition, a missing num_train.
    """
    for name, value in {"dimension": dimension, "teacher_hidden": teacher_hidden}.items():
        if value < 1:
            raise InvalidInput(f"{name} must be at least 1, got {value}.")
    if definition not in ("paper", "authors_code"):
        raise InvalidInput(f"definition must be 'paper' or 'authors_code', got {definition!r}.")
    weights = stream_generator(seed, "random_features", "teacher")
    if definition == "paper":
        hidden = torch.randn(dimension, teacher_hidden, generator=weights)  # theta_1 (I, h_t)
        hidden /= hidden.norm(dim=0)
        output = torch.randn(teacher_hidden, generator=weights)  # theta_2 (h_t,)
        bias = torch.randn(1, generator=weights)
    else:
        hidden = (2 * torch.rand(dimension, teacher_hidden, generator=weights) - 1) / dimension**0.5
        output = (2 * torch.rand(teacher_hidden, generator=weights) - 1) / teacher_hidden**0.5
        bias = (2 * torch.rand(1, generator=weights) - 1) / teacher_hidden**0.5

    def teacher(x: Tensor) -> Tensor:  # in chunks: (1024, h_t) activations at a time
        return torch.cat([(part @ hidden).relu() @ output + bias for part in x.split(1024)])

    def inputs(which: str, count: int) -> Tensor:
        return torch.randn(count, dimension, generator=stream_generator(seed, "random_features", which))

    x = inputs(split, num_examples)
    score = teacher(x)
    if definition == "authors_code":
        if split == "train":
            score = score - score.mean()
        elif num_train is None:
            raise InvalidInput("the test split of definition='authors_code' needs num_train: its labels are centred on the training mean.")
        else:
            score = score - teacher(inputs("train", num_train)).mean()
    return x, (score > 0).long()


def check_gaussian(shape: tuple[int, ...], std: float, num_classes: int) -> None:
    """Refuses arguments of `gaussian` that make no sense.

    Raises:
        InvalidInput: says which and why.
    """
    if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InvalidInput(f"shape must be a tuple of positive integers, got {shape!r}.")
    if not 0 < std < float("inf"):
        raise InvalidInput(f"std must be positive and finite, got {std!r}.")
    if num_classes < 0:
        raise InvalidInput(f"num_classes must be 0 (no labels) or more, got {num_classes}.")
