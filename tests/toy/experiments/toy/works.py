"""The runs of the toy pages."""

from dataclasses import dataclass

import pandas as pd

from sgdscope.runs import Result, run


@dataclass(frozen=True)
class Descent:
    seed: int
    learning_rate: float
    num_steps: int = 10


def descend_all(configs):
    return [Result(pd.DataFrame({"loss": [config.learning_rate]})) for config in configs]


@run(version=1, batch=descend_all)
def descend(config: Descent) -> Result:
    return descend_all([config])[0]


@dataclass(frozen=True)
class Single:
    seed: int


@run(version=1)
def single(config: Single) -> Result:
    return Result(pd.DataFrame({"value": [config.seed]}))


def configurations(dataset, learning_rates, num_steps, seeds, center):
    descents = [Descent(seed, rate, num_steps) for rate in learning_rates for seed in seeds]
    return [*descents, *(Single(seed) for seed in seeds)]
