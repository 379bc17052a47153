"""What the set-ups of random-features models are before any training: length of the features, balance of the labels, number of parameters."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sgdscope.data.synthetic import random_features
from sgdscope.experiments.gradient_variance.random_features_data import SETUPS, student
from sgdscope.models.parameters import dimension
from sgdscope.runs.files import Result
from sgdscope.runs.run import run


@dataclass(frozen=True)
class Setup:
    """One student and one training set."""

    definition: str  # of SETUPS
    input_dim: int
    teacher_hidden: int
    hidden: int
    num_examples: int
    seed: int


@run(version=1)
def describe(config: Setup) -> Result:
    """One row: ``feature_length`` (mean over the hidden units), ``positives`` (share of labels +1), ``parameters`` (trained)."""
    model = student(config.definition, config.input_dim, config.hidden, config.seed)
    teacher = {"dimension": config.input_dim, "teacher_hidden": config.teacher_hidden, "definition": SETUPS[config.definition][0]}
    _, labels = random_features(config.num_examples, **teacher, seed=config.seed)
    return Result(
        pd.DataFrame(
            {
                "feature_length": [model[1].weight.double().norm(dim=1).mean().item()],
                "positives": [labels.double().mean().item()],
                "parameters": [dimension(model)],
            }
        )
    )
