"""Histories of mini-batch gradients at a fixed point: the matrix G of paper 2 (Xie et al. 2023, Sec. 3), transposed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, NotFinite
from sgdscope.gradients.budget import MEMORY
from sgdscope.gradients.capture import forward
from sgdscope.gradients.per_example import PerExampleGradients
from sgdscope.gradients.plan import Plan, plan_of
from sgdscope.gradients.sampling import draw_batches, sampling_counts
from sgdscope.gradients.weighted import weighted_gradients
from sgdscope.models.examples import Examples, check_examples, leaves, take
from sgdscope.models.losses import Loss, per_example_loss
from sgdscope.models.refusals import check_modules

METHODS = ("auto", "weights", "batches")

PRODUCT_SPEED = 6.0
"""How many times faster per multiplication a large matrix product runs than a forward and backward pass (LeNet and SimpleCNN, one thread: 4 to 8)."""


def gradient_history(
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    *,
    batch_size: int,
    num_draws: int,
    generator: torch.Generator,
    replacement: bool = False,
    epochs: bool = False,
    method: str = "auto",
    memory: int = MEMORY,
    out: Tensor | None = None,
) -> Tensor:
    """(T, d) gradients ``(1/B) sum_{n in batch t} g_n`` of mean losses over T mini-batches, all at the parameters as they are.

    Rows are unbiased estimates of the mean gradient; independent ones except within an epoch of ``epochs``. Their covariance is
    ``C / B`` with replacement and ``C / B (N - B) / (N - 1)`` without, C the covariance (1/N) of the per-example gradients.

    B = 1 takes per-example gradients. For larger batches there are two exact ways, and ``auto`` counts multiplications: ``weights`` streams the
    per-example gradients of all drawn examples once and multiplies them by the (T, N) matrix of sampling weights, whatever B;
    ``batches`` runs one forward and backward pass a mini-batch, which is cheaper for small B.

    Args:
        model: as for `PerExampleGradients.of`, with the same refusals.
        loss: likewise.
        x: N examples to draw from.
        y: their targets.
        batch_size: B.
        num_draws: T.
        generator: what the mini-batches are drawn from; the same seed gives the same mini-batches with any method.
        replacement: draw the examples of a batch with replacement; see `draw_batches`.
        epochs: cut consecutive batches from permutations of all examples, so that T = N // B of them make one epoch.
        method: ``auto``, ``weights`` or ``batches``.
        memory: bytes of work beside the result.
        out: (T, d), filled and returned.

    Raises:
        InvalidInput: as `PerExampleGradients.of`; batch_size above N without replacement; sizes below 1; NaN gradients.
    """
    if method not in METHODS:
        raise InvalidInput(f"method must be one of {', '.join(METHODS)}; {method!r} came.")
    check_modules(model)
    function = per_example_loss(loss)
    num_examples = check_examples(model, x, y)
    batches = draw_batches(num_examples, batch_size, num_draws, generator=generator, replacement=replacement, epochs=epochs)
    plan = plan_of(model, function, x, y, num_examples)
    parameters = [p for p in model.parameters() if p.requires_grad]
    batches = batches.to(parameters[0].device)
    shape = (num_draws, plan.size)
    if out is None:
        out = torch.empty(shape, dtype=parameters[0].dtype, device=parameters[0].device)
    elif (tuple(out.shape), out.dtype, out.device) != (shape, parameters[0].dtype, parameters[0].device):
        raise InvalidInput(
            f"out must be {shape} of {parameters[0].dtype} on {parameters[0].device}; {tuple(out.shape)} of {out.dtype} came."
        )
    if batch_size == 1:
        _single(model, loss, x, y, batches[:, 0], memory, out)
    elif method == "weights" or (method == "auto" and weights_are_cheaper(num_examples, batch_size, num_draws, plan.size, _work(plan))):
        _weighted(model, loss, x, y, batches, memory, out)
    else:
        _one_by_one(model, function, x, y, batches, memory, plan.bytes_captured, out)
    if not torch.isfinite(out.sum(1)).all():
        raise NotFinite("gradients must be finite; NaN or infinite values came out of finite losses. Use float64 or a smaller loss.")
    return out


def weights_are_cheaper(num_examples: int, batch_size: int, num_draws: int, size: int, work: int) -> bool:
    """Whether ``U (2 w + T d / s)`` multiplications are fewer than ``T B w``: w of one example's pass, U examples drawn, s `PRODUCT_SPEED`."""
    drawn = num_examples * (1 - (1 - batch_size / num_examples) ** num_draws) if batch_size < num_examples else num_examples
    return drawn * (2 * work + num_draws * size / PRODUCT_SPEED) < num_draws * batch_size * work


def _work(plan: Plan) -> int:
    """Multiplications of a forward and backward pass of one example: three for each weight at each position."""
    return 3 * max(plan.size, plan.multiplications)


def _single(model: nn.Module, loss: Loss, x: Examples, y: Examples, index: Tensor, memory: int, out: Tensor) -> None:
    """Rows of the drawn examples. One drawn more than once is computed once where that halves the work: a copy costs about half a row of LeNet."""
    examples, place = index.unique(return_inverse=True)
    again = 2 * len(examples) <= len(index)
    chosen = examples if again else index
    gradients = PerExampleGradients.of(model, loss, take(x, chosen), take(y, chosen), memory=memory)
    if not again:
        gradients.dense(out=out)
        return
    order = place.argsort()  # draws of one example side by side
    counts = torch.bincount(place, minlength=len(examples)).cumsum(0).tolist()
    for rows, where in gradients.blocks():
        first = counts[where.start - 1] if where.start else 0
        draws = order[first : counts[where.stop - 1]]
        for draw, row in zip(draws.tolist(), (place[draws] - where.start).tolist(), strict=True):
            out[draw].copy_(rows[row])  # one copy; rows of an index would be another


def _weighted(model: nn.Module, loss: Loss, x: Examples, y: Examples, batches: Tensor, memory: int, out: Tensor) -> None:
    """Sampling weights times streamed per-example gradients of the examples that were drawn."""
    counts = sampling_counts(batches, len(next(leaves(y, "y"))[1]))  # (T, N)
    weighted_gradients(model, loss, x, y, counts, memory=memory, out=out)
    out /= batches.shape[1]


def _one_by_one(model, loss: Callable, x: Examples, y: Examples, batches: Tensor, memory: int, captured: int, out: Tensor) -> None:
    """One backward pass a mini-batch, in pieces where its graph is beyond the budget."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    piece = max(1, memory // max(1, 4 * captured))
    for row, batch in zip(out, batches, strict=True):
        row.zero_()
        for index in batch.split(piece):
            losses, *_ = forward(model, loss, take(x, index), take(y, index), len(index))
            with torch.enable_grad():
                gradients = torch.autograd.grad(losses.sum() / len(batch), parameters, allow_unused=True)
            start = 0
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    row[start : start + parameter.numel()] += (gradient.to_dense() if gradient.is_sparse else gradient).flatten()
                start += parameter.numel()
