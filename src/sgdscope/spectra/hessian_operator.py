"""Products of vectors with the Hessian of the mean loss, at two forward-and-backward passes each once its graph is built."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import saved_tensors_hooks

from sgdscope.errors import InvalidInput, whole
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss, check_losses
from sgdscope.spectra.composite import twice_differentiable
from sgdscope.spectra.objective import Objective

LEAST, MOST = 16, 4096
ON_CPU, ON_GPU = 32 * 2**20, 2**30
"""Bytes of the graph of a chunk. Passes that a product takes on a CPU core with 8 to 32, 96 and 256 MiB: LeNet 1.2, 1.9, 1.9, SimpleCNN 1.6 to
1.8, 1.8, 2.4, for the C library asks the system anew for each large array; dense layers do not care, but smaller chunks have their fixed cost."""


TWICE = "the model and the loss must be twice differentiable; {} Write that layer from other operations."


class HessianOperator:
    """``H = (1/N) sum_i d^2 loss_i / d theta^2``, a symmetric (d, d) matrix known by ``H @ v``.

    The product differentiates ``<grad L, v>``. The graph of ``grad L`` does not depend on v: it is kept for as many chunks of examples as fit
    into ``memory`` bytes, where a product costs about 2 passes (one forward and backward of the same examples); for the others it is
    built again for each product, about 3 passes.

    H is linear in the loss: for a loss summed over examples it is N times larger. Rows and columns are the trainable parameters
    (``requires_grad``) in the order of ``model.parameters()``. Parameters are copied when the operator is made.

    Args:
        model: with batch norm in eval mode and dropout off.
        loss: ``(outputs, y) -> (N,)`` or a name such as ``"cross_entropy"``.
        x: inputs, a tensor or a dict of tensors for ``model(**x)``; examples first.
        y: targets.
        keep_graph: True for every chunk, False for none, None for as many as fit into ``memory``.
        memory: bytes for kept graphs, estimated from those that two examples save; 2 GiB.
        chunk_size: examples differentiated at once; if None, those whose graph takes about 32 MiB, 1 GiB on a GPU, from 16 to 4,096.

    Raises:
        InvalidInput: see `Objective`; also options out of range, and a model that autograd cannot differentiate twice.

    >>> line = nn.Linear(1, 1, bias=False).double()
    >>> x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    >>> HessianOperator(line, "squared_error", x, x) @ torch.ones(1, dtype=torch.float64)  # mean of x^2
    tensor([5.], dtype=torch.float64)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        x: Examples,
        y: Examples,
        *,
        keep_graph: bool | None = None,
        memory: float = 2 * 2**30,
        chunk_size: int | None = None,
    ) -> None:
        chunk_size = None if chunk_size is None else whole("chunk_size", chunk_size)
        if keep_graph not in (True, False, None):
            raise InvalidInput(f"keep_graph must be True, False or None; {keep_graph!r} came.")
        if not isinstance(memory, int | float) or not memory >= 0:
            raise InvalidInput(f"memory must be a number of bytes, zero or more; {memory!r} came.")
        self.objective = Objective(model, loss, x, y)
        self._leaves = [value.requires_grad_() for value in self.objective.parameters]
        self._checked = False
        self._graphs: list[tuple[int, int, list[Tensor | None] | None]] = []
        number = self.objective.num_examples
        bytes_each = max(self.graph_bytes(), 1) if number > LEAST and (chunk_size is None or keep_graph is None) else 1
        working = ON_GPU if self._leaves[0].is_cuda else ON_CPU
        chunk = chunk_size or min(max(int(working / bytes_each), LEAST), MOST)
        allowed = {True: number, False: 0, None: int(memory / bytes_each)}[keep_graph]
        for start, stop in self.objective.chunks(chunk):
            self._graphs.append((start, stop, self._gradient(start, stop) if stop <= allowed else None))

    @property
    def shape(self) -> tuple[int, int]:
        """(d, d)."""
        return self.objective.dimension, self.objective.dimension

    @property
    def kept(self) -> int:
        """Number of examples whose graph is kept."""
        return sum(stop - start for start, stop, graph in self._graphs if graph is not None)

    def graph_bytes(self) -> int:
        """Bytes an example that a kept graph holds: what two examples save less what one saves, every storage once."""
        own = {value.untyped_storage().data_ptr() for value in self._leaves}

        def held(number: int) -> int:
            sizes: dict[int, int] = {}

            def note(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in own:
                    sizes[storage.data_ptr()] = storage.nbytes()
                return tensor

            with saved_tensors_hooks(note, lambda tensor: tensor):
                graph = self._gradient(0, number)  # held until the end, for the addresses of freed memory come again
            return sum(sizes.values()) if graph else 0

        return held(1) if self.objective.num_examples == 1 else max(held(2) - held(1), 0)

    def _gradient(self, start: int, stop: int) -> list[Tensor | None]:
        """The chunk's part of the gradient of the mean loss, with its graph; None where it does not depend on the parameters."""
        with self._forms(), torch.enable_grad():
            losses = check_losses(self.objective.losses(self._leaves, start, stop), stop - start)
            if not losses.requires_grad:
                raise InvalidInput("the losses must depend on the parameters; they do not (torch.no_grad or .detach() in forward?).")
            with_graph = grad(losses.sum() / self.objective.num_examples, self._leaves, create_graph=True, allow_unused=True)
        parts = [part if part is not None and part.requires_grad else None for part in with_graph]
        if not self._checked:
            _check_twice_differentiable(parts)
            self._checked = True
        return parts

    def _forms(self) -> AbstractContextManager:
        return twice_differentiable()

    def __matmul__(self, vector: Tensor) -> Tensor:
        """``H v`` for v (d,), detached.

        Raises:
            InvalidInput: another shape, or NaN.
        """
        if not isinstance(vector, Tensor) or vector.shape != (self.shape[0],):
            came = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise InvalidInput(f"H @ v takes a flat v ({self.shape[0]},) one entry a trainable parameter; {came} came.")
        if not torch.isfinite(vector).all():
            raise InvalidInput("v must be finite; NaN or infinite values came.")
        parts = self.objective.unflatten(vector.detach().to(self._leaves[0]))
        total = torch.zeros_like(vector, dtype=self._leaves[0].dtype, device=self._leaves[0].device)
        for start, stop, graph in self._graphs:
            total += self._product(graph or self._gradient(start, stop), parts, keep=graph is not None)
        return total

    def _product(self, gradient: list[Tensor | None], parts: list[Tensor], keep: bool) -> Tensor:
        used = [(g, v) for g, v in zip(gradient, parts, strict=True) if g is not None]
        if not used:
            return torch.zeros((), dtype=parts[0].dtype, device=parts[0].device)  # linear in every parameter
        outputs, vectors = zip(*used, strict=True)
        try:
            with self._forms():
                products = grad(outputs, self._leaves, grad_outputs=vectors, retain_graph=keep, allow_unused=True)
        except RuntimeError as error:
            if "not implemented" in str(error) or "double backward" in str(error):
                raise InvalidInput(TWICE.format(f"autograd says: {error}")) from error
            raise
        return torch.cat([(torch.zeros_like(v) if h is None else h).reshape(-1) for h, v in zip(products, parts, strict=True)])


def _check_twice_differentiable(gradient: list[Tensor | None]) -> None:
    """Refuses ``once_differentiable`` functions in the graph: autograd.grad does not visit the node that is to raise, and drops their part."""
    seen, left = set(), [part.grad_fn for part in gradient if part is not None]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise InvalidInput(TWICE.format("a function in it is marked with @once_differentiable."))
        seen.add(node)
        left += [following for following, _ in node.next_functions]


def hessian_vector_product(
    model: nn.Module, loss: Loss, x: Examples, y: Examples, vector: Tensor, *, chunk_size: int | None = None
) -> Tensor:
    """One product ``H v`` (d,) of the Hessian of the mean loss; make a `HessianOperator` for several.

    See `HessianOperator` for arguments, scaling and errors.
    """
    return HessianOperator(model, loss, x, y, keep_graph=False, chunk_size=chunk_size) @ vector
