"""Runs of random-features models (Sec. 4.2 and 4.3): many trained at once, with the variance of four estimators along one SGD trajectory each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sgdscope.experiments.gradient_variance.random_features_data import SETUPS, RandomFeatures, TrainingSet
from sgdscope.experiments.gradient_variance.random_features_group import Group
from sgdscope.runs.files import Result
from sgdscope.runs.run import run
from sgdscope.training.readouts import Readouts

FEATURES = 1 << 30
"""Bytes of features that are trained on at once."""


def train_together(configs: Sequence[RandomFeatures]) -> Iterator[Result]:
    """Students of one size, as batched tensors; equal to single runs up to 1e-4 of the variances (float32 passes in another order)."""
    configs[0].check()
    done: dict[int, Result] = {}
    sets: dict[tuple[int, int], TrainingSet] = {}
    stacks = _stacks(configs)
    for i in range(len(configs)):
        while i not in done:
            members = next(stacks)  # (G, M) positions
            done |= dict(zip(np.ravel(members).tolist(), Stack(configs, members, sets).train(), strict=True))
        yield done.pop(i)


@run(version=1, batch=train_together, together=("input_dim", "teacher_hidden", "learning_rate", "seed", "share", "drop_at"))
def train(config: RandomFeatures) -> Result:
    """At each log point a row an estimator.

    Columns: ``loss`` (nats) and ``accuracy`` on the training set; ``example_square`` and ``gradient_square``, mean squares per coordinate of one
    example's gradient and of the full one; ``exact`` average variance; and of R estimates ``variance`` (unbiased), ``normalised`` (ratio of
    totals), ``normalised_mean`` (mean of ratios, same draws), ``guarded`` and ``unguarded`` (the authors' mean of ratios over fresh draws with
    and without 1e-7). Of SG-B's coordinates with the 1% largest two-pass ratios: ``extreme_moment`` (their second moment in the second pass
    over that of all), ``extreme_noise`` (their variance in the first pass over that of all), ``extreme_share`` (of the sum of ratios).
    """
    return next(train_together([config]))


def _stacks(configs: Sequence[RandomFeatures]) -> Iterator[np.ndarray]:
    """Positions (G, M) of configurations that go together: a row has one set of features, all rows the same teachers, rates and drops."""
    groups: dict[tuple, dict[tuple, int]] = {}
    for i, config in enumerate(configs):
        one = groups.setdefault((config.input_dim, config.seed, config.share), {})
        one[config.teacher_hidden, config.learning_rate, config.drop_at] = i
    alike: dict[tuple, list[list[int]]] = {}
    for models in groups.values():
        ordered = sorted(models)
        alike.setdefault(tuple(ordered), []).append([models[model] for model in ordered])
    most = max(1, FEATURES // (4 * configs[0].num_examples * (configs[0].hidden + 1)))
    for rows in alike.values():
        yield from (np.array(rows[i : i + most]) for i in range(0, len(rows), most))


class Stack:
    """G training sets of one size with M students each."""

    def __init__(self, configs: Sequence[RandomFeatures], members: np.ndarray, sets: dict[tuple[int, int], TrainingSet]):
        self.configs = [[configs[i] for i in row] for row in members]
        self.first = first = self.configs[0][0]
        teachers = {config.teacher_hidden for config in configs}
        features, labels, weights = [], [], []
        for row in self.configs:
            one = row[0]
            known = sets.setdefault(
                (one.input_dim, one.seed), TrainingSet(one.definition, one.input_dim, one.hidden, one.num_examples, one.seed)
            )
            known.prepare(teachers)
            rows = known.rows(one.share, one.originals)
            targets = torch.stack([known.labels(config.teacher_hidden) for config in row])
            features.append(known.features if rows is None else known.features[rows])
            labels.append(targets if rows is None else targets[:, rows])
            weights.append(known.start.expand(len(row), -1))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.readouts = Readouts(
            torch.stack(features).to(device),
            torch.stack(labels).to(device),
            torch.stack(weights).to(device),
            outputs=SETUPS[first.definition][1],
            weight_decay=first.weight_decay,
        )
        self.groups = [Group(row, self.readouts.features[g], self.readouts.labels[g]) for g, row in enumerate(self.configs)]

    def train(self) -> list[Result]:
        """All steps; the results in the order of the members."""
        first, device = self.first, self.readouts.features.device
        for step in range(first.num_steps + 1):
            if first.repeats and step >= first.first_refresh and (step - first.first_refresh) % first.refresh_every == 0:
                residuals = self.readouts.residuals(self.readouts.logits())
                for group, own, weights in zip(self.groups, residuals, self.readouts.weights, strict=True):
                    group.refresh(own, weights)
            if step and step % first.log_every == 0:
                self._measure(step)
            if step < first.num_steps:
                index = torch.stack([group.batches.next() for group in self.groups]).to(device)
                self.readouts.step(index, self._rates(step))
        return [result for group in self.groups for result in group.results()]

    def _rates(self, step: int) -> Tensor:
        rates = [[c.learning_rate * (c.drop_factor if 0 < c.drop_at <= step else 1) for c in row] for row in self.configs]
        return torch.tensor(rates, dtype=torch.float64, device=self.readouts.weights.device)

    def _measure(self, step: int) -> None:
        logits = self.readouts.logits()
        found = self.readouts.losses(logits), self.readouts.accuracies(logits), self.readouts.residuals(logits)
        for group, losses, accuracies, residuals in zip(self.groups, *found, strict=True):
            group.measure(step, losses, accuracies, residuals)
