"""Experiments of the break-even paper."""
