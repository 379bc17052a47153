"""A microscope for stochastic gradients."""

__version__ = "0.1.0"
