"""Per-example gradients at a fixed point, in factored form, and histories of mini-batch gradients."""

from sgdscope.gradients.history import gradient_history
from sgdscope.gradients.per_example import PerExampleGradients
from sgdscope.gradients.sampling import draw_batches
from sgdscope.gradients.weighted import weighted_gradients

__all__ = ["PerExampleGradients", "draw_batches", "gradient_history", "weighted_gradients"]
