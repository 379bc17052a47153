"""Random features: one hidden ReLU layer that stays as it was drawn, and a linear readout that is trained."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from sgdscope.errors import unknown_name, whole

DEFINITIONS = ("paper", "authors_code")


def random_features(
    *, in_shape: tuple[int, ...], num_classes: int, hidden: int = 1000, definition: str = "paper", bias: bool = True
) -> nn.Sequential:
    """``theta_2^T relu(theta_1^T x)`` with frozen theta_1 (I, h_s): the student of Faghri et al. (2020, Sec. 4.2).

    Features by the ``paper``: normal, each scaled to length 1. By the ``authors_code``: PyTorch's default initialisation, uniform on
    +-1/sqrt(I), of length about 0.58. The paper has one output without a bias, d = h_s; the code two with one, d = 2 h_s + 2. The paper does not
    say how theta_2 starts: uniform on +-1/sqrt(h_s), as in the authors' code.

    Args:
        in_shape: of one input; it is flattened, to I numbers.
        num_classes: outputs of the readout.
        hidden: h_s.
        definition: of the features, ``paper`` or ``authors_code``.
        bias: of the readout.
    """
    hidden = whole("hidden", hidden, note="the width")
    if definition not in DEFINITIONS:
        raise unknown_name("definition", str(definition), DEFINITIONS)
    first = nn.Linear(prod(in_shape), hidden, bias=False).requires_grad_(False)
    if definition == "paper":
        with torch.no_grad():
            first.weight.normal_()
            first.weight /= first.weight.norm(dim=1, keepdim=True)
    readout = nn.Linear(hidden, num_classes, bias=bias)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), readout)
