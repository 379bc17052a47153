"""Extreme eigenpairs of the Hessian of the mean loss, by Lanczos on Hessian-vector products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss
from sgdscope.spectra.eigensolver import ENDS, Eigenpairs, extreme_eigenpairs
from sgdscope.spectra.hessian_operator import HessianOperator


def hessian_eigenpairs(
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    *,
    k: int = 10,
    seed: int = 0,
    start: Tensor | Eigenpairs | None = None,
    which: str = "largest",
    tolerance: float = 1e-2,
    max_products: int = 500,
    check_products: int = 3,
    basis_size: int | None = None,
    keep_graph: bool | None = None,
    memory: float = 2 * 2**30,
    chunk_size: int | None = None,
) -> Eigenpairs:
    """The ``k`` largest (or other extreme) eigenvalues and eigenvectors of ``H = (1/N) sum_i d^2 loss_i / d theta^2``.

    ``lambda_H^1`` of the break-even paper is ``values[0]``, ``e_H^1`` is ``vectors[:, 0]``. Values are linear in the loss: a loss summed
    over examples gives N times larger ones. Working memory beside the graphs: about ``(basis_size + k) d`` numbers.

    Args:
        model: with batch norm in eval mode and dropout off; its parameters are copied and do not change.
        loss: ``(outputs, y) -> (N,)`` or a name such as ``"cross_entropy"``.
        x: inputs, examples first; a dict goes to ``model(**x)``.
        y: targets.
        k: number of pairs, at most d.
        seed: of the start vector and of the random check.
        start: where to start: (d,), (d, p), or the `Eigenpairs` of a step before, which saves most of the products along training.
        which: ``"largest"`` or ``"smallest"`` by sign; ``"both"``: the ``ceil(k/2)`` largest and the others smallest; ``"magnitude"``:
            largest by absolute value, as ``which="LM"`` in the authors' code, where negative values displace positive ones.
        tolerance: ``|H v - value v|`` relative to ``|value|``. The error of a value is about the square of that over its relative gap, so
            1e-2 gives three digits of separate eigenvalues; vectors need 1e-3.
        max_products: Hessian-vector products at most; without convergence by then ``converged`` is False.
        check_products: products spent on a random direction after convergence, so that no member of a multiple or tight top cluster is
            missed. The check is probabilistic: it finds what rises clearly above the k-th value; 0 leaves it out.
        basis_size: vectors before a restart; 3 k + 40.
        keep_graph: True keeps the graph of the gradient for all examples, False for none, None for as many as fit into ``memory``.
        memory: bytes for it.
        chunk_size: examples differentiated at once.

    Returns:
        `Eigenpairs` in descending order: ``.values`` (k,) float64, ``.vectors`` (d, k), ``.residuals`` (k,), ``.products``, ``.converged``.

    Raises:
        InvalidInput: k larger than d, a start of the wrong shape, zero or not finite, a tolerance or count out of range, and what
            `HessianOperator` refuses: batch norm in training mode, active dropout, NaN, empty data, labels out of range, a scalar loss.
        NotFound: an unknown loss or end of the spectrum.
    """
    for name, value, least in (("k", k, 1), ("max_products", max_products, 1), ("check_products", check_products, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInput(f"{name} must be a whole number of at least {least}; {value!r} came.")
    if not 0 < tolerance < 1:
        raise InvalidInput(f"tolerance must lie between 0 and 1, relative to each eigenvalue; {tolerance!r} came.")
    if which not in ENDS:
        raise unknown_name("end of the spectrum", which, ENDS)
    operator = HessianOperator(model, loss, x, y, keep_graph=keep_graph, memory=memory, chunk_size=chunk_size)
    dimension = operator.objective.dimension
    if k > dimension:
        raise InvalidInput(f"k must be at most the number of trainable parameters, {dimension}; {k} came. Ask for fewer eigenvalues.")
    generator = torch.Generator().manual_seed(seed)
    like = operator.objective.parameters[0]
    if start is None:
        first = torch.randn(dimension, 1, generator=generator, dtype=torch.float64).to(like)
    else:
        first = _start(start.vectors if isinstance(start, Eigenpairs) else start, dimension).to(like)
    return extreme_eigenpairs(
        operator.__matmul__,
        first,
        k=k,
        which=which,
        tolerance=tolerance,
        max_products=max_products,
        check_products=check_products,
        basis_size=basis_size,
        generator=generator,
    )


def _start(start: Tensor, dimension: int) -> Tensor:
    """``start`` as (d, p) independent columns."""
    if not isinstance(start, Tensor) or start.dim() not in (1, 2) or len(start) != dimension or start.shape[-1] == 0:
        came = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise InvalidInput(f"start must be ({dimension},), ({dimension}, p) or the eigenpairs of this model; {came} came.")
    start = start.detach().reshape(dimension, -1)
    if not start.is_floating_point() or not torch.isfinite(start).all():
        raise InvalidInput("start must hold finite floating-point numbers; NaN, infinite values or integers came.")
    if not start.any(0).all():
        raise InvalidInput("start must not be zero: the products of a zero vector span nothing. Pass None for a random one.")
    if start.shape[1] > dimension or (start.shape[1] > 1 and torch.linalg.matrix_rank(start.double().T @ start.double()) < start.shape[1]):
        raise InvalidInput(f"start must have independent columns; {start.shape[1]} came that are not. Drop repeated ones.")
    return start
