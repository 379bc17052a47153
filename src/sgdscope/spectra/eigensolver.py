"""Extreme eigenpairs of a symmetric operator known by its products: band Lanczos with thick restarts, warm starts and a random check.

From one start vector this is Lanczos with full reorthogonalisation. From k vectors (the eigenvectors of a step before) it is a Rayleigh-Ritz
step on their span, which goes on where the residual is largest; it takes k products at least. The first of them goes to the sum of the
vectors: if the image lies outside their span, they are no longer near to eigenvectors, and their sum alone starts a Lanczos run, which is
then the shorter way. `Band` holds the recurrence.

One Krylov space holds one vector of each eigenspace only, and rounding brings in the others late; ARPACK in scipy 1.17 then reports
convergence with a member missing (scipy issue 26112). So once all pairs have converged, a random direction orthogonal to everything enters,
with a few products along its own chain, fewer where `RandomCheck` knows enough before; if that moves a value among those asked for, the
iteration goes on, and is checked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.spectra.band import Band
from sgdscope.spectra.random_check import RandomCheck

ENDS = ("largest", "smallest", "both", "magnitude")
"""What `extreme_eigenpairs` can look for."""

DRIFT = 0.13
"""Part of the image of the sum of the start vectors outside their span above which the sum alone goes on. Of gradient descent on LeNet:
below it, the block saves up to two thirds of the products; above, it takes up to half more than a start from a random vector."""


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs in descending order of the values.

    Attributes:
        values: (k,) float64, on the device of the operator.
        vectors: (d, k), orthonormal columns.
        residuals: (k,) float64, ``|A v - value v|``: some eigenvalue lies that close, and for one apart from the others the error is
            about the residual squared over the gap.
        products: how many products with the operator were used, the check included.
        converged: all residuals at most ``tolerance |value|``, and the check passed, within ``max_products``.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def check_search(
    k: int, which: str, tolerance: float, max_products: int, check_products: int, basis_size: int | None, dimension: int | None = None
) -> None:
    """Refuses what `extreme_eigenpairs` cannot look for.

    Raises:
        InvalidInput: a count or tolerance out of range, k larger than the dimension, a basis smaller than k + 2.
        NotFound: ``which`` is none of `ENDS`.
    """
    for name, value, least in (("k", k, 1), ("max_products", max_products, 1), ("check_products", check_products, 0)):
        whole(name, value, least)
    if basis_size is not None:
        whole("basis_size", basis_size, k + 2, note="k + 2, room for a step")
    if not isinstance(tolerance, float | int) or not 0 < tolerance < 1:
        raise InvalidInput(f"tolerance must lie between 0 and 1, relative to each eigenvalue; {tolerance!r} came.")
    if which not in ENDS:
        raise unknown_name("end of the spectrum", str(which), ENDS)
    if dimension is not None and k > dimension:
        raise InvalidInput(f"k must be at most the number of trainable parameters, {dimension}; {k} came. Ask for fewer eigenvalues.")


def check_start(start: Tensor, dimension: int) -> Tensor:
    """``start`` as (d, p) independent columns of length 1.

    Raises:
        InvalidInput: another shape, integers, NaN, zero or dependent columns.
    """
    if not isinstance(start, Tensor) or start.dim() not in (1, 2) or len(start) != dimension or start.shape[-1] == 0:
        came = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise InvalidInput(f"start must be ({dimension},), ({dimension}, p) or the eigenpairs of this model; {came} came.")
    start = start.detach().reshape(dimension, -1)
    if not start.is_floating_point() or not torch.isfinite(start).all():
        raise InvalidInput("start must hold finite floating-point numbers; NaN, infinite values or integers came.")
    if start.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"eigenpairs are computed in float32 or float64; {start.dtype} came. Convert the model, as by model.float().")
    if not start.any(0).all():
        raise InvalidInput("start must not be zero: the products of a zero vector span nothing. Pass None for a random one.")
    start = start / start.abs().amax(0)  # first, or the squares of tiny numbers are zero
    start = start / start.norm(dim=0)
    products = start.double().T @ start.double()
    if start.shape[1] > dimension or torch.linalg.matrix_rank(products, hermitian=True) < start.shape[1]:
        raise InvalidInput(f"start must have independent columns; {start.shape[1]} came that are not. Drop repeated ones.")
    return start


def extreme_eigenpairs(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    k: int,
    which: str = "largest",
    tolerance: float = 1e-2,
    max_products: int = 500,
    check_products: int = 6,
    basis_size: int | None = None,
    generator: torch.Generator,
) -> Eigenpairs:
    """``k`` extreme eigenpairs of a symmetric matrix.

    Args:
        product: (d,) to (d,).
        start: (d,) or (d, p) independent columns; their dtype (float32 or float64) and device are those of the work. Coefficients are in
            float64.
        k: number of pairs, at most d.
        which: ``"largest"`` and ``"smallest"`` by sign, ``"both"`` the ``ceil(k/2)`` largest and the others smallest, ``"magnitude"``
            the largest by absolute value.
        tolerance: residual of each pair relative to its ``|value|`` (as in ARPACK); values below ``eps^(2/3)`` of the largest count as that.
        max_products: where to stop, converged or not; with fewer than k products there are fewer pairs.
        check_products: products at most along each random chain, half as many where the start vectors proved to be near to eigenvectors;
            0 for no check.
        basis_size: rows of V before a restart, at least k + 2; 3 k + 40 if None. Memory is about ``(basis_size + p) d`` numbers.
        generator: of the random directions, on the CPU.

    Raises:
        InvalidInput: see `check_search` and `check_start`; a product that is not finite, or of a matrix that is not symmetric.
        NotFound: ``which`` is none of `ENDS`.
    """
    start = check_start(start, len(start) if isinstance(start, Tensor) and start.dim() else 0)
    dimension = len(start)
    check_search(k, which, tolerance, max_products, check_products, basis_size, dimension)
    size = min(dimension, basis_size or 3 * k + 40)
    state = Band(start, size, generator)
    products, near, check = 0, False, None
    while True:
        values, small, wanted, residuals = state.ritz(k, which)  # wanted in ascending order of the values
        exact = state.rows == dimension
        bound = tolerance * values[wanted].abs().clamp_min(_floor(start.dtype) * float(values.abs().max()) if len(values) else 0.0)
        converged = exact or (len(wanted) == k and bool((residuals <= bound).all()))
        checked = converged and check is not None and check.left == 0
        passed = exact or check_products == 0 or (checked and bool(((values[wanted] - check.values).abs() <= bound).all()))
        done = converged and passed
        if done or products >= max_products:
            break
        if converged and (check is None or check.left == 0):
            length = (check_products + near) // (1 + near)
            check = RandomCheck(state.inject(), values[wanted], which, length, dimension - state.rows)
        if state.rows == size:
            state.restart(k, which)
            continue
        if check and check.left:
            state.expand(product, check.direction)
            check.advance(*state.step())
        elif state.starts:
            state.expand(product, state.first())
            if products == 0 and state.outside() > DRIFT:
                state.merge()
            elif products == 0:
                near = start.shape[1] >= k
        else:
            check = None
            state.expand(product, state.worst(small, wanted, residuals / bound) if len(wanted) else state.last())
        products += 1
    wanted, residuals = wanted.flip(0), residuals.flip(0)
    vectors = (state.basis().T @ small[:, wanted].to(start)).contiguous()
    device = start.device
    return Eigenpairs(values[wanted].to(device), vectors, residuals.to(device), products, done)


def _floor(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps ** (2 / 3)
