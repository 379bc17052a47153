"""Data sets as tensors: loading, class-balanced subsets, wrong labels, duplicates, Gaussian inputs.

The names below are imported at first use, so that `describe` and the registry work without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgdscope.data.catalogue import Entry, available, describe
    from sgdscope.data.corruption import corrupt_labels, shuffle_labels
    from sgdscope.data.dataset import Dataset
    from sgdscope.data.duplicates import append_copies, overwrite_with_copies
    from sgdscope.data.load import load_dataset
    from sgdscope.data.registry import names
    from sgdscope.data.subset import balanced_subset
    from sgdscope.data.synthetic import gaussian, gaussian_stream, random_features

_MODULES = {
    "Dataset": "dataset",
    "Entry": "catalogue",
    "append_copies": "duplicates",
    "available": "catalogue",
    "balanced_subset": "subset",
    "corrupt_labels": "corruption",
    "describe": "catalogue",
    "gaussian": "synthetic",
    "gaussian_stream": "synthetic",
    "load_dataset": "load",
    "names": "registry",
    "overwrite_with_copies": "duplicates",
    "random_features": "synthetic",
    "shuffle_labels": "corruption",
}

__all__ = [
    "Dataset",
    "Entry",
    "append_copies",
    "available",
    "balanced_subset",
    "corrupt_labels",
    "describe",
    "gaussian",
    "gaussian_stream",
    "load_dataset",
    "names",
    "overwrite_with_copies",
    "random_features",
    "shuffle_labels",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
