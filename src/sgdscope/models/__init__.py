"""Networks of the papers, each built by name from a seed, and what a model, a loss and examples have to be everywhere in the library."""

from sgdscope.models.build import build, names
from sgdscope.models.examples import Examples
from sgdscope.models.losses import LOSSES, Loss, per_example_loss
from sgdscope.models.parameters import trainable

__all__ = ["LOSSES", "Examples", "Loss", "build", "names", "per_example_loss", "trainable"]
