"""Networks of the papers, each built by name from a seed: the same weights bit for bit on every device."""

from sgdscope.models.build import build, names
from sgdscope.models.losses import losses, per_example

__all__ = ["build", "losses", "names", "per_example"]
