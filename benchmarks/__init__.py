"""Benchmarks beside other libraries: one module a floor of the library, `python -m benchmarks` runs them all."""
