"""Table 2 of Faghri et al. (2020) with the rates of App. C.1: the settings that the pages on image classification start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Hyperparameters:
    """One row of Table 2, and what the text of App. C.1 says about it."""

    dataset: str
    model: str
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int  # B; the number of clusters too
    num_steps: int  # T
    log_every: int  # Log T
    repeats: int  # Estim T
    update_every: int  # U
    gc_steps: int  # GC T
    drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    batch_norm: bool = False


TABLE_2: dict[str, Hyperparameters] = {
    "mnist_mlp": Hyperparameters("mnist", "mlp", 0.02, 0.5, 5e-4, 128, 50_000, 500, 50, 2000, 10),
    "cifar10_resnet8": Hyperparameters("cifar10", "resnet8", 0.01, 0.9, 5e-4, 128, 80_000, 500, 50, 20_000, 3, (40_000, 60_000)),
    "cifar100_resnet32": Hyperparameters(
        "cifar100", "resnet32", 0.1, 0.9, 5e-4, 128, 80_000, 500, 50, 20_000, 3, (40_000, 60_000), batch_norm=True
    ),
    "imagenet_resnet18": Hyperparameters(
        "imagenet", "resnet18", 0.1, 0.9, 1e-4, 128, 80_000, 1000, 10, 10_000, 3, (40_000, 60_000), batch_norm=True
    ),
}
"""Rows by the names of the ledger. The drops of ImageNet are those of CIFAR-10: "similar", says App. C.1."""

NAMES = {  # of the ledger: ours
    "B": "batch_size",
    "T": "num_steps",
    "log_T": "log_every",
    "estim_T": "repeats",
    "U": "update_every",
    "gc_T": "gc_steps",
    "lr": "learning_rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "lr_drop": "drops",
    "lr_factor": "drop_factor",
    "batch_norm": "batch_norm",
}


def differences(printed: Mapping[str, Any], ours: object) -> list[str]:
    """Where something with our names (`Hyperparameters`, a run's configuration) differs from printed values with those of the ledger.

    >>> differences({"B": 128, "lr": 0.1}, TABLE_2["mnist_mlp"])
    ['lr: 0.1 printed, 0.02 here']
    """
    found = []
    for name, value in printed.items():
        here = getattr(ours, NAMES[name])
        if (tuple(value) if isinstance(value, list) else value) != here:
            found.append(f"{name}: {value} printed, {here} here")
    return found


def in_force(config: object, row: str = "mnist_mlp") -> pd.DataFrame:
    """Settings of a run beside those of a row of the table: columns setting, paper, here."""
    printed = TABLE_2[row]
    names = ["dataset", "model", *NAMES.values()]
    return pd.DataFrame({"setting": names, "paper": [getattr(printed, n) for n in names], "here": [getattr(config, n) for n in names]})
