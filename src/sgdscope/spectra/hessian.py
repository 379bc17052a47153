"""Extreme eigenpairs of the Hessian of the mean loss, by Lanczos on Hessian-vector products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss
from sgdscope.spectra.eigensolver import Eigenpairs, check_search, check_start, extreme_eigenpairs
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
    check_products: int = 6,
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
        start: where to start: (d,), (d, p), or the `Eigenpairs` of a step before. Of k pairs it takes k + 1 products at least, about a
            third of those from a random start while the vectors move by a few percent from one step to the next, and no more than that
            start where they do not resemble each other.
        which: ``"largest"`` or ``"smallest"`` by sign; ``"both"``: the ``ceil(k/2)`` largest and the others smallest; ``"magnitude"``:
            largest by absolute value, as ``which="LM"`` in the authors' code, where negative values displace positive ones.
        tolerance: ``|H v - value v|`` relative to ``|value|``. The error of a value is about the square of that over its relative gap, so
            1e-2 gives three digits of separate eigenvalues; vectors need 1e-3.
        max_products: Hessian-vector products at most; without convergence by then ``converged`` is False, and with fewer than k products there are
            fewer pairs.
        check_products: products at most spent on a random direction after convergence, so that no member of a multiple or tight top cluster
            is missed; half as many after a warm start from near. The check is probabilistic: with enough products, which a spectrum whose
            bulk lies far below the k-th value allows, a missing one passes once in 1,000 times; 0 leaves it out.
        basis_size: vectors before a restart, at least k + 2; 3 k + 40 if None.
        keep_graph: True keeps the graph of the gradient for all examples, False for none, None for as many as fit into ``memory``.
        memory: bytes for it.
        chunk_size: examples differentiated at once; see `HessianOperator`.

    Returns:
        `Eigenpairs` in descending order: ``.values`` (k,) float64, ``.vectors`` (d, k), ``.residuals`` (k,), ``.products``, ``.converged``.

    Raises:
        InvalidInput: k larger than d, a start of the wrong shape, zero, dependent or not finite, a tolerance or count out of range, and what
            `HessianOperator` refuses: batch norm in training mode, active dropout, NaN, empty data, labels out of range, a scalar loss.
        NotFound: an unknown loss or end of the spectrum.
    """
    check_search(k, which, tolerance, max_products, check_products, basis_size)
    operator = HessianOperator(model, loss, x, y, keep_graph=keep_graph, memory=memory, chunk_size=chunk_size)
    dimension = operator.objective.dimension
    generator = torch.Generator().manual_seed(seed)
    like = operator.objective.parameters[0]
    if start is None:
        first = torch.randn(dimension, 1, generator=generator, dtype=torch.float64).to(like)
    else:
        first = check_start(start.vectors if isinstance(start, Eigenpairs) else start, dimension).to(like)
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
