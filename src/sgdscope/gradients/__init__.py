"""Per-example gradients at a fixed point, in factored form, and histories of mini-batch gradients."""

from sgdscope.gradients.losses import LOSSES, Loss, per_example_loss
from sgdscope.gradients.per_example import PerExampleGradients

__all__ = ["LOSSES", "Loss", "PerExampleGradients", "per_example_loss"]
