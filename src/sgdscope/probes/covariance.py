"""Spectrum of the covariance K of mini-batch gradients along training (Jastrzebski et al. 2020, Sec. 4 and App. C)."""

from __future__ import annotations

from torch import Tensor

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, whole
from sgdscope.gradients import gradient_history
from sgdscope.probes.probe import Measured, Probe, optional
from sgdscope.spectra import CovarianceSpectrum, covariance_eigenpairs, projected_norm_ratio
from sgdscope.training import Snapshot, measuring


class GradientCovariance(Probe):
    """``K = (1/L) sum_i (g_i - g)(g_i - g)^T`` of L mini-batch gradients at the snapshot, g their mean.

    Each mini-batch is a fresh random subset of the training data, with the model in eval mode. K is quadratic in the loss and falls as
    about 1/M with the size M of the mini-batches, so compare runs at one M.

    Measures:
        K_top: ``lambda_K^1``, the largest eigenvalue.
        K_smallest: ``lambda_K^*``, the (L-1)th largest: the smallest that centring does not make zero.
        K_conditioning: ``lambda_K^* / lambda_K^1``.
        K_trace: ``Tr K``.
        K_projected: mean over the L gradients of ``|g_i| / |g_i,k|``, the latter projected on the top k eigenvectors (Sec. 4.4; k = 5).
        K_values: (L,) all eigenvalues.

    Args:
        num_batches: L (paper: 25, and 200 on IMDB).
        batch_size: M; that of training by default (paper: that of training, or 128 where the batch size is varied).
        num_projected: k; at most L - 1.
        seed: of the mini-batches.
    """

    def __init__(self, *, num_batches: int = 25, batch_size: int | None = None, num_projected: int = 5, seed: int = 0) -> None:
        num_batches, batch_size = whole("num_batches", num_batches, 2), optional("batch_size", batch_size, 1)
        num_projected = whole("num_projected", num_projected, 1)
        if num_projected >= num_batches:
            raise InvalidInput(f"num_projected must be below num_batches, {num_batches}, the rank of K; {num_projected} came.")
        self.num_batches, self.batch_size, self.num_projected, self.seed = num_batches, batch_size, num_projected, seed
        self._last: tuple[Snapshot, CovarianceSpectrum, float] | None = None

    def at(self, snapshot: Snapshot) -> CovarianceSpectrum:
        """The spectrum with its top k eigenvectors; asked for again at the same snapshot, it is not computed again.

        Raises:
            InvalidInput: no batch size, or that of all examples, whose gradients are all equal.
        """
        if self._last is None or self._last[0] is not snapshot:
            rows = self._gradients(snapshot)
            spectrum = covariance_eigenpairs(rows, k=self.num_projected)
            self._last = snapshot, spectrum, float(projected_norm_ratio(rows, spectrum.vectors).mean())
        return self._last[1]

    def _gradients(self, snapshot: Snapshot) -> Tensor:
        size = self.batch_size or snapshot.batch_size
        if size is None:
            raise InvalidInput("batch_size is missing: give it to GradientCovariance or to the snapshot.")
        if size >= snapshot.num_examples:
            raise InvalidInput(
                f"batch_size must be below the {snapshot.num_examples} examples, or all gradients are equal and K is zero; {size} came."
            )
        generator = stream_generator(self.seed, "gradient covariance", str(snapshot.step))
        with measuring(snapshot.model):
            return gradient_history(
                snapshot.model, snapshot.loss, snapshot.x, snapshot.y, batch_size=size, num_draws=self.num_batches, generator=generator
            )

    def measure(self, snapshot: Snapshot) -> Measured:
        """The numbers and the spectrum at one snapshot."""
        spectrum = self.at(snapshot)
        return {
            "K_top": spectrum.top,
            "K_smallest": spectrum.smallest,
            "K_conditioning": spectrum.conditioning,
            "K_trace": spectrum.trace,
            "K_projected": self._last[2],
            "K_values": spectrum.values,
        }
