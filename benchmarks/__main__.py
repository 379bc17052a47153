"""`python -m benchmarks [module ...]`: each module of this package with a `main()`, or the named ones."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"


def main() -> None:
    """Runs them one after the other."""
    import torch

    torch.set_num_threads(1)
    names = sys.argv[1:] or sorted(found.name for found in pkgutil.iter_modules([os.path.dirname(__file__)]))
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "main"):
            module.main()


if __name__ == "__main__":
    main()
