"""The top directions themselves along training: do those of H and K agree, and is the loss along that of H a parabola?"""

from __future__ import annotations

import torch

from sgdscope.errors import NotFinite, whole
from sgdscope.probes.covariance import GradientCovariance
from sgdscope.probes.curvature import Sharpness
from sgdscope.probes.probe import Measured, Probe, examples
from sgdscope.spectra.objective import Objective
from sgdscope.training import Snapshot, mean_gradient, measuring


class Alignment(Probe):
    """How far the top eigenvectors of H and K agree (Jastrzebski et al. 2020, Assumption 2).

    Measures:
        alignment: ``|<e_H^1, e_K^1>|``, 0 to 1. Of two random directions in d dimensions about ``sqrt(2 / (pi d))``.

    Args:
        sharpness: the probe that finds ``e_H^1``.
        covariance: the probe that finds ``e_K^1``.
    """

    def __init__(self, sharpness: Sharpness, covariance: GradientCovariance) -> None:
        self.sharpness, self.covariance = sharpness, covariance
        self.parts = sharpness, covariance

    def measure(self, snapshot: Snapshot) -> Measured:
        """The cosine at one snapshot."""
        of_hessian, of_covariance = self.sharpness.at(snapshot).vectors[:, 0], self.covariance.at(snapshot).vectors[:, 0]
        return {"alignment": abs(float(of_hessian.double() @ of_covariance.double()))}


class DistanceAlongTop(Probe):
    """How far the minimum along the top eigenvector e of the Hessian is, by the parabola there (Jastrzebski et al. 2020, Sec. 3).

    On the examples of the sharpness probe, in eval mode. Does not change with the scale of the loss.

    Measures:
        distance: ``psi = |<g, e>| / |lambda|``, g the mean gradient and lambda the curvature.

    Args:
        sharpness: the probe that finds e.
    """

    def __init__(self, sharpness: Sharpness) -> None:
        self.sharpness = sharpness
        self.parts = (sharpness,)

    def measure(self, snapshot: Snapshot) -> Measured:
        """The distance at one snapshot."""
        slope, curvature = _slope_and_curvature(self.sharpness, snapshot)
        return {"distance": slope / curvature}


class LossAlongTop(Probe):
    """The mean loss along the top eigenvector e of the Hessian, and the parabola through it (Jastrzebski et al. 2020, Assumption 1).

    On the examples of the sharpness probe, in eval mode. The loss is taken at ``num_points`` points t from ``-r`` to ``r`` with
    ``r = reach max(|a| / |lambda|, eta |a|)``, ``a = <g, e>`` and lambda the curvature: the minimum of the parabola and the next
    full-batch step lie inside.

    Measures:
        quadratic_error: residual norm of the best parabola through the points over the norm of the losses less their mean; 0 for a parabola.
        along_points: (num_points,) t.
        along_losses: (num_points,) ``L(theta + t e)``.

    Args:
        sharpness: the probe that finds e.
        num_points: made odd, so that t = 0 is among them.
        reach: how many times the distance to look.
    """

    def __init__(self, sharpness: Sharpness, *, num_points: int = 11, reach: float = 2.0) -> None:
        num_points = whole("num_points", num_points, 5)
        self.sharpness, self.num_points, self.reach = sharpness, num_points + 1 - num_points % 2, reach
        self.parts = (sharpness,)

    def measure(self, snapshot: Snapshot) -> Measured:
        """Profile and error at one snapshot.

        Raises:
            NotFinite: a loss on the way is NaN or infinite.
        """
        slope, curvature = _slope_and_curvature(self.sharpness, snapshot)
        rate = snapshot.learning_rate if snapshot.learning_rate > 0 else 0.0
        reach = self.reach * slope * max(1 / curvature, rate)
        points = torch.linspace(-reach, reach, self.num_points, dtype=torch.float64)
        x, y = examples(snapshot, self.sharpness.num_examples, self.sharpness.seed)
        with measuring(snapshot.model), torch.no_grad():
            objective = Objective(snapshot.model, snapshot.loss, x, y)
            steps = objective.unflatten(self.sharpness.at(snapshot).vectors[:, 0])
            losses = torch.stack([self._loss(objective, steps, float(t)) for t in points])
        if not torch.isfinite(losses).all():
            raise NotFinite(f"the loss along the top eigenvector must be finite; it is not at step {snapshot.step}.")
        return {"quadratic_error": quadratic_error(points, losses), "along_points": points, "along_losses": losses}

    @staticmethod
    def _loss(objective: Objective, steps: list[torch.Tensor], t: float) -> torch.Tensor:
        moved = [value + t * step for value, step in zip(objective.parameters, steps, strict=True)]
        total = sum(objective.losses(moved, *chunk).sum(dtype=torch.float64) for chunk in objective.chunks(1000))
        return (total / objective.num_examples).cpu()


def _slope_and_curvature(sharpness: Sharpness, snapshot: Snapshot) -> tuple[float, float]:
    """``|<g, e>|`` and ``|lambda|`` on the examples of the sharpness probe."""
    pairs = sharpness.at(snapshot)
    x, y = examples(snapshot, sharpness.num_examples, sharpness.seed)
    with measuring(snapshot.model):
        gradient = mean_gradient(snapshot.model, snapshot.loss, x, y)
    return abs(float(gradient.double() @ pairs.vectors[:, 0].double())), abs(float(pairs.values[0]))


def quadratic_error(points: torch.Tensor, values: torch.Tensor) -> float:
    """Residual norm of the least-squares parabola through ``(points, values)`` over the norm of the values less their mean; 0 if constant.

    >>> t = torch.linspace(-1, 1, 9, dtype=torch.float64)
    >>> round(quadratic_error(t, t**2), 9), round(quadratic_error(t, t**3), 3)
    (0.0, 0.382)
    """
    scaled = points / points.abs().max().clamp_min(torch.finfo(points.dtype).tiny)
    residual = values - values.mean()
    spread = residual.norm()
    basis: list[torch.Tensor] = []  # orthogonal polynomials; by sums alone, for LAPACK's bits depend on where the memory lies
    for power in (scaled, scaled.square()):
        power = power - power.mean()
        for done in basis:
            power = power - (power * done).sum() / done.square().sum() * done
        basis.append(power)
        if bool(power.any()):
            residual = residual - (residual * power).sum() / power.square().sum() * power
    return float(residual.norm() / spread) if spread > 0 else 0.0
