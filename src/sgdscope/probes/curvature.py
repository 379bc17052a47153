"""Curvature along training: top Hessian eigenvalues with warm starts, and how far Eq. 1 is from instability along the top eigenvector."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.probes.probe import Measured, Probe, examples, optional
from sgdscope.spectra import Eigenpairs, hessian_eigenpairs
from sgdscope.stability import directional_curvature, stability_lhs
from sgdscope.training import Snapshot, measuring


class Sharpness(Probe):
    """Largest eigenvalues of the Hessian of the mean loss on a fixed subset of the training data, each from the vectors of the one before.

    Values are linear in the loss. Model in eval mode.

    Measures:
        H_top: ``lambda_H^1``, the largest eigenvalue.
        H_values: (k,) the k largest, descending; where k is above 1.
        H_residual: largest ``|H v - value v| / |value|`` of the k pairs.
        H_products: Hessian-vector products that it took.

    Args:
        k: number of eigenvalues.
        num_examples: examples of the Hessian (paper: 5% of the data); all by default.
        tolerance: of the residuals; see `hessian_eigenpairs`.
        max_products: likewise.
        warm_start: begin with the eigenvectors of the snapshot before.
        seed: of the subset and of the first start.
    """

    def __init__(
        self,
        *,
        k: int = 1,
        num_examples: int | None = None,
        tolerance: float = 1e-2,
        max_products: int = 500,
        warm_start: bool = True,
        seed: int = 0,
    ) -> None:
        self.k, self.num_examples, self.seed = k, optional("num_examples", num_examples, 1), seed
        self.tolerance, self.max_products, self.warm_start = tolerance, max_products, warm_start
        self._vectors: Tensor | None = None
        self._last: tuple[Snapshot, Eigenpairs] | None = None

    def at(self, snapshot: Snapshot) -> Eigenpairs:
        """The eigenpairs at a snapshot; asked for again at the same one, they are not computed again."""
        if self._last is None or self._last[0] is not snapshot:
            x, y = examples(snapshot, self.num_examples, self.seed)
            with measuring(snapshot.model):
                pairs = hessian_eigenpairs(
                    snapshot.model, snapshot.loss, x, y, k=self.k, seed=self.seed, start=self._vectors, tolerance=self.tolerance,
                    max_products=self.max_products,
                )  # fmt: skip
            self._last = snapshot, pairs
            self._vectors = pairs.vectors if self.warm_start else None
        return self._last[1]

    def measure(self, snapshot: Snapshot) -> Measured:
        """The eigenvalues at one snapshot and how well they are known."""
        pairs = self.at(snapshot)
        relative = pairs.residuals / pairs.values.abs().clamp_min(float(pairs.values.abs().max()) * 1e-12)
        found: Measured = {"H_top": float(pairs.values[0]), "H_residual": float(relative.max()), "H_products": float(pairs.products)}
        return found | ({"H_values": pairs.values} if self.k > 1 else {})

    def state(self) -> dict[str, object]:
        """The vectors that the next one starts from."""
        return {"vectors": self._vectors}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take up a `state`."""
        self._vectors, self._last = state["vectors"], None


class StabilityMargin(Probe):
    """Left side of Eq. 1 at the snapshot (Jastrzebski et al. 2020): mean and spread over examples of the curvature along the top eigenvector.

    ``(1 - eta lambda)^2 + s^2 eta^2 (N - S) / (S (N - 1))`` with lambda and ``s^2`` the mean and the variance (1/N) over examples of
    ``e^T H_i e``, eta the learning rate of the *following* step, N all training examples. Below 1: SGD is stable along e in the mean square.

    Measures:
        curvature_mean: lambda, over the examples measured.
        curvature_std: s.
        stability_lhs: the left side.
        stability_margin: 1 less the left side.

    Args:
        sharpness: the probe that finds e; recorded beside this one it is computed once.
        num_examples: examples of mean and spread; all by default.
        seed: of the subset.
    """

    def __init__(self, sharpness: Sharpness, *, num_examples: int | None = None, seed: int = 0) -> None:
        self.sharpness, self.num_examples, self.seed = sharpness, optional("num_examples", num_examples, 2), seed
        self.parts = (sharpness,)

    def measure(self, snapshot: Snapshot) -> Measured:
        """The margin at one snapshot.

        Raises:
            InvalidInput: a snapshot without learning rate or batch size.
        """
        if snapshot.batch_size is None or not snapshot.learning_rate > 0:
            raise InvalidInput(
                "the stability margin needs the learning rate and the batch size of training; "
                f"{snapshot.learning_rate} and {snapshot.batch_size} came. Give them to the snapshot."
            )
        direction = self.sharpness.at(snapshot).vectors[:, 0]
        x, y = examples(snapshot, self.num_examples, self.seed)
        with measuring(snapshot.model):
            curvatures = directional_curvature(snapshot.model, snapshot.loss, x, y, direction).double()
        mean, std = float(curvatures.mean()), float(curvatures.std(correction=0))
        left = stability_lhs(snapshot.learning_rate, mean, std, snapshot.num_examples, snapshot.batch_size)
        return {"curvature_mean": mean, "curvature_std": std, "stability_lhs": left, "stability_margin": 1 - left}
