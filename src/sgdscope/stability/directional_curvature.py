"""The curvature of each example's loss along one direction, in forward mode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.models.examples import Examples, take
from sgdscope.models.losses import Loss
from sgdscope.spectra.composite import COMPOSITES, composite_forms
from sgdscope.spectra.hessian_operator import HessianOperator
from sgdscope.spectra.objective import Objective
from sgdscope.stability import taylor_attention, taylor_rules  # noqa: F401  (they fill the table of rules)
from sgdscope.stability.taylor import RULES, NoRule, Series, coefficients, name_of
from sgdscope.stability.taylor_functions import by_forward_mode

METHODS = ("auto", "taylor", "nested")


def directional_curvature(
    model: nn.Module,
    loss: Loss,
    x: Examples,
    y: Examples,
    direction: Tensor,
    *,
    method: str = "auto",
    chunk_size: int | None = None,
) -> Tensor:
    """(N,) ``e^T H_i e``: the second derivative at t = 0 of the loss of each example i along ``theta + t e``.

    H_i is the Hessian of the loss of example i in the trainable parameters. The mean over examples is ``lambda`` and their variance (1/N)
    ``s^2`` of Eq. 1 in Jastrzebski et al. (2020), for e the top eigenvector of the Hessian of the mean loss::

        curvatures = directional_curvature(model, loss, x, y, hessian_eigenpairs(model, loss, x, y, k=1).vectors[:, 0])
        stability_lhs(learning_rate, curvatures.mean(), curvatures.std(correction=0), len(x), batch_size)

    The direction is used as it is, not normalised: the result is quadratic in it, linear in the loss, and does not depend on the number of
    examples. Its unit is loss over parameter squared for a direction of length one. It is zero where a loss does not depend on the parameters.

    Forward mode, no backward pass. Taylor series of second order cost 1 to 3 forward and backward passes of the same examples and serve models
    of the functions that have a rule (linear, convolution, batch norm in eval mode, activations, pooling, sums, products, softmax, and
    layer norm, recurrences and attention written out); another function runs forward mode twice by itself. What series cannot follow (autograd
    switched off inside, an autograd.Function, changes in place of what is seen twice) sends the whole model through nested `torch.func.jvp`, 2
    to 5 passes. As PyTorch's forward mode is wrong through some functions, with functions that our tests do not cover the largest value is
    checked by double backward of that one example, once a model and loss.

    Args:
        model: with batch norm in eval mode and dropout off.
        loss: ``(outputs, y) -> (N,)`` or a name such as ``"cross_entropy"``.
        x: inputs, a tensor or a dict of tensors for ``model(**x)``; examples first.
        y: targets.
        direction: e (d,), flat, in ``model.parameters()`` order, those that require a gradient.
        method: ``"taylor"`` or ``"nested"`` to insist on one way, ``"auto"`` for the first that works.
        chunk_size: examples at once; the result does not depend on it beyond rounding. If None, from 8 to 1,024, so that the results of the
            model's functions take 2 MiB on average (64 MiB on a GPU, and up to 8,192): what keeps the work in the cache, measured.

    Returns:
        (N,) of the parameters' dtype and device.

    Raises:
        InvalidInput: a direction of another length, of integers, NaN, or zero; a model, loss or data that `Objective` refuses; a model that forward
            mode cannot differentiate twice, or ``method="taylor"`` with a function that has no rule.
        NotFound: an unknown method or name of a loss.

    >>> line = nn.Linear(1, 1, bias=False).double()
    >>> x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    >>> directional_curvature(line, "squared_error", x, x, torch.ones(1))  # x^2
    tensor([1., 9.], dtype=torch.float64)
    """
    if method not in METHODS:
        raise unknown_name("method", str(method), METHODS)
    chunk_size = None if chunk_size is None else whole("chunk_size", chunk_size)
    objective = Objective(model, loss, x, y)
    e = objective.direction("direction", direction)
    seen = _look(objective)
    size = chunk_size or _fitting_chunk(seen.sizes, e.is_cuda)
    if method != "nested":
        untested = sorted(seen.names - set(RULES) - set(COMPOSITES))
        try:
            by_series = _by_series(objective, e, untested)
            if untested:  # there may be no way: find out at little cost
                _in_chunks(objective, by_series, 1, stop=1)
            curvatures = _in_chunks(objective, by_series, size)
            return _checked(objective, e, curvatures) if untested else curvatures
        except NoRule as missing:
            if method == "taylor":
                raise InvalidInput(f"method='taylor' needs a rule for each function of the model; {missing}. Use method='auto'.") from None
    return _checked(objective, e, _in_chunks(objective, _by_nested_jvp(objective, e), size))


def _in_chunks(objective: Objective, curvatures: Callable[[int, int], Tensor], size: int, *, stop: int | None = None) -> Tensor:
    try:
        with torch.enable_grad(), composite_forms():
            return torch.cat([curvatures(*chunk).detach() for chunk in islice(objective.chunks(size), stop)])
    except (RuntimeError, NotImplementedError) as error:
        if any(words in str(error) for words in ("forward AD", "functorch transforms", "jvp")):
            raise InvalidInput(
                f"the model and the loss must be differentiable twice in forward mode; torch.func says: {str(error).splitlines()[0]} "
                "Write that layer from other operations, or give its autograd.Function a jvp."
            ) from error
        raise


def _fitting_chunk(sizes: list[int], on_gpu: bool) -> int:
    """Examples whose intermediate results take 2 MiB on average over the functions of the model, 64 MiB on a GPU."""
    target, most = (64 * 2**20, 8192) if on_gpu else (2 * 2**20, 1024)
    mean = sum(sizes) / max(len(sizes), 1)
    return min(max(int(target / max(mean, 1)), 8), most)


def _look(objective: Objective) -> _Functions:
    """What the model and the loss call for one example."""
    with torch.no_grad(), _Functions() as seen:
        objective.losses(objective.parameters, 0, 1)
    return seen


class _Functions(TorchFunctionMode):
    """Notes the names of torch functions and the bytes of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.sizes: list[int] = []

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        self.names.add(name_of(func))
        self.sizes += [leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        return result


def _by_series(objective: Objective, direction: Tensor, untested: list[str]) -> Callable[[int, int], Tensor]:
    """Parameters ``theta + t e`` as Taylor series; the loss's second coefficient is half its second derivative.

    A loss without a rule runs in forward mode by itself, for outputs are small; ``untested`` then says so.
    """
    line = [Series.of(p, v, shared=True) for p, v in zip(objective.parameters, objective.unflatten(direction), strict=True)]

    def curvatures(start: int, stop: int) -> Tensor:
        x, y = (take(examples, slice(start, stop)) for examples in (objective.x, objective.y))
        outputs = objective.outputs(line, x)
        try:
            values = objective.loss(outputs, y)
        except NoRule as missing:
            untested.append(str(missing))
            with _AutogradConstants():
                values = by_forward_mode(objective.loss, outputs, y)
        losses, _, half = coefficients(values)
        return torch.zeros_like(losses) if half is None else 2 * half

    return curvatures


def _by_nested_jvp(objective: Objective, direction: Tensor) -> Callable[[int, int], Tensor]:
    parameters, tangents = tuple(objective.parameters), tuple(objective.unflatten(direction))

    def curvatures(start: int, stop: int) -> Tensor:
        def slopes(*values: Tensor) -> Tensor:
            return jvp(lambda *inner: objective.losses(inner, start, stop), values, tangents)[1]

        with _AutogradConstants():
            return jvp(slopes, parameters, tangents)[1]

    return curvatures


_confirmed: WeakKeyDictionary[nn.Module, set] = WeakKeyDictionary()


def _checked(objective: Objective, direction: Tensor, curvatures: Tensor) -> Tensor:
    """``curvatures``, the largest of which double backward confirms, once a model and loss.

    Forward mode twice is wrong in silence through some functions of PyTorch.
    """
    key, seen = ref(objective.loss), _confirmed.setdefault(objective.model, set())
    if key in seen:
        return curvatures
    i = int(curvatures.abs().argmax())
    x, y = (take(examples, slice(i, i + 1)) for examples in (objective.x, objective.y))
    expected = direction @ (HessianOperator(objective.model, objective.loss, x, y, keep_graph=False) @ direction)
    error, scale = (curvatures[i] - expected).abs(), torch.maximum(curvatures[i].abs(), expected.abs())
    if error > torch.finfo(error.dtype).eps ** 0.25 * scale:
        raise InvalidInput(
            f"forward mode is wrong through a function of this model or loss (torch.linalg.det is one): the curvature of example {i} is "
            f"{float(curvatures[i]):.6g} by forward mode and {float(expected):.6g} by double backward. Write that function from others."
        )
    if scale > 0:
        seen.add(key)
    return curvatures


class _AutogradConstants(TorchFunctionMode):
    """What autograd takes as constant, forward mode takes so too: results under `torch.no_grad`, and ``tensor.data``."""

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        if torch.is_grad_enabled() and name_of(func) != "data":
            return result
        return tree_map_only(Tensor, Tensor.detach, result)
