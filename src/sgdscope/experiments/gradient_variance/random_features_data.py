"""One random-features model and its training set: features of a fixed first layer, labels from random teachers (Faghri et al. 2020, Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sgdscope.data.duplicates import overwrite_with_copies
from sgdscope.data.synthetic import random_features, stream_generator
from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.models.build import build

SETUPS = {"figures": ("paper", 2), "paper": ("paper", 1), "authors_code": ("authors_code", 2)}
"""Definition of features and teacher, and number of outputs: the paper's text has one; the authors' code has two and leaves PyTorch's default
initialisation; the numbers in the paper's figures agree with features by the text and two outputs. Two have a bias, one has none."""

CHUNK = 1000
"""Inputs whose features are computed at a time."""


@dataclass(frozen=True)
class RandomFeatures:
    """One student on one training set."""

    overparametrisation: float  # tau = h_s / N: N = int(h_s / tau) examples
    input_dim: int  # I
    teacher_hidden: int  # h_t
    learning_rate: float
    seed: int  # of teacher, inputs, features, start, mini-batches and estimators
    share: float = 0.0  # of the examples that are copies (Sec. 4.3)
    definition: str = "figures"  # or paper, authors_code: see SETUPS
    hidden: int = 1000  # h_s
    batch_size: int = 10  # B of training and of SG-B, SVRG; K of GC; SG-2B takes 2 B
    num_steps: int = 5000
    log_every: int = 100  # steps between two measurements
    repeats: int = 10  # R estimates (twice, for the authors' two passes); 0: exact variance of SG-B only
    first_refresh: int = 10  # step of the first snapshot (SVRG) and clustering (GC)
    refresh_every: int = 1000  # steps between two
    clustering_steps: int = 3  # assignments a clustering
    weight_decay: float = 1e-4  # authors' code
    originals: int = 5  # how many points are copied
    drop_at: int = 0  # step from which the rate is smaller; 0: none
    drop_factor: float = 0.1  # by which it is multiplied then

    @property
    def num_examples(self) -> int:
        """N."""
        return int(self.hidden / self.overparametrisation + 1e-9)

    def check(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            InvalidInput: fewer examples than SG-2B takes, a variance from one estimate, a measurement before the first snapshot.
        """
        needed = 2 * self.batch_size if self.repeats else self.batch_size
        if self.num_examples < needed:
            raise InvalidInput(
                f"h_s / overparametrisation must give {needed} examples at least, for SG-2B; {self.hidden} / {self.overparametrisation:g} came. "
                "Take a smaller overparametrisation or batch."
            )
        if self.repeats == 1 or self.repeats < 0:
            raise InvalidInput(f"repeats must be 0 (exact variance only) or at least 2, got {self.repeats}.")
        if self.repeats and self.first_refresh > self.log_every:
            raise InvalidInput(
                f"the first refresh must come before the first measurement; steps {self.first_refresh} and {self.log_every} came."
            )


def student(definition: str, input_dim: int, hidden: int, seed: int) -> nn.Sequential:
    """The model whose readout is trained.

    Raises:
        NotFound: an unknown definition.
    """
    if definition not in SETUPS:
        raise unknown_name("definition", definition, SETUPS)
    features, outputs = SETUPS[definition]
    options = {"hidden": hidden, "definition": features, "bias": outputs == 2}
    return build("random_features", seed=seed, in_shape=(input_dim,), num_classes=outputs, **options)


@dataclass
class TrainingSet:
    """N examples of one seed and input width: features (N, p) by the student, with a column of ones for its bias if it has one, and its start.

    Labels depend on the teacher only, and inputs do not: students of several teachers share their features.
    """

    definition: str
    input_dim: int
    hidden: int
    num_examples: int
    seed: int
    features: Tensor = field(init=False)
    start: Tensor = field(init=False)  # (p,) weights of the readout; of two logits their difference
    _labels: dict[int, Tensor] = field(init=False, default_factory=dict)
    _x: Tensor | None = field(init=False, default=None)

    @torch.no_grad()
    def prepare(self, teachers: set[int]) -> None:
        """Computes the features once and the labels of these teachers; inputs are thrown away."""
        _, first, activation, readout = student(self.definition, self.input_dim, self.hidden, self.seed)
        x, labels = None, SETUPS[self.definition][0]
        for teacher_hidden in sorted(teachers - set(self._labels)):
            settings = {"dimension": self.input_dim, "teacher_hidden": teacher_hidden, "definition": labels, "seed": self.seed}
            x, self._labels[teacher_hidden] = random_features(self.num_examples, **settings)
        if x is None or hasattr(self, "features"):
            return
        bias = readout.bias is not None
        self.features = torch.ones(self.num_examples, self.hidden + bias)
        for part, place in zip(x.split(CHUNK), self.features.split(CHUNK), strict=True):
            place[:, : self.hidden] = activation(first(part))
        weights = torch.cat([readout.weight, readout.bias[:, None]], 1) if bias else readout.weight  # (outputs, p)
        self.start = weights[1] - weights[0] if len(weights) == 2 else weights[0]

    def labels(self, teacher_hidden: int) -> Tensor:
        """(N,) 0 or 1."""
        return self._labels[teacher_hidden]

    def rows(self, share: float, originals: int) -> Tensor | None:
        """(N,) which example stands where: the last ``share`` of them overwritten by copies of the first few, then shuffled; None without copies.

        Shuffled, because gradient clustering with running counts takes examples in their order.
        """
        if not share:
            return None
        order = torch.randperm(self.num_examples, generator=stream_generator(self.seed, "order of copies"))
        return overwrite_with_copies(self.num_examples, originals=originals, share=share)[order]
