"""Factored per-example gradients: the (N, d) matrix of all gradients at one point, never built unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, NotFinite, unknown_name, whole
from sgdscope.gradients.budget import MEMORY, chunk_size, frozen
from sgdscope.gradients.factors import Factor, Rows
from sgdscope.gradients.gram import Chunk, add_gram, mirror
from sgdscope.gradients.plan import Plan, factors, plan_of
from sgdscope.models.examples import Examples, check_examples, check_versions, take, versions
from sgdscope.models.losses import Loss, per_example_loss
from sgdscope.models.refusals import check_modules

FORMS = ("auto", "factored", "materialised")


class PerExampleGradients:
    """Gradients ``g_n = d loss_n / d theta`` of N examples at fixed parameters: an (N, d) matrix in factored form. Build it with `of`.

    Columns follow ``model.parameters()``, each parameter flattened, those with ``requires_grad=False`` left out. ``loss_n`` is the loss of
    one example: nothing is divided by N, the mean gradient is `mean`. All results scale with the loss; `gram` and `squared_norms` with its square.

    Attributes:
        shape: (N, d).
        names: names of the trainable parameters, in the order of the columns.
        kept: whether the factors are held in memory; else each result runs the model again on a frozen copy.
        chunk: examples in one pass through the model.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, loss: Callable, x: Examples, y: Examples, num_examples: int, memory: int, form: str, chunk: int
    ):
        self._plan, self._loss, self._x, self._y = plan, loss, x, y
        self._form, self._memory = form, memory
        self._versions = versions(x, y)
        self.chunk = chunk
        self.shape = torch.Size((num_examples, plan.size))
        self.names = tuple(plan.names)
        parameter = next(p for p in model.parameters() if p.requires_grad)
        self.dtype, self.device = parameter.dtype, parameter.device
        self.kept = num_examples * plan.bytes_kept[form] <= memory // 2
        self._chunks: list[Chunk] = []
        self._model = model if self.kept else frozen(model)
        if self.kept:
            self._chunks = list(self._compute())
            self._model = None  # not needed any more

    @classmethod
    def of(
        cls, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, memory: int = MEMORY, form: str = "auto", chunk: int | None = None
    ) -> PerExampleGradients:
        """Gradients of ``loss(model(x), y)`` by example, at the parameters as they are now.

        Later training steps change nothing. The first call for a model checks it on up to eight examples spread over all, two of a class where
        ``y`` holds classes (about the cost of a few passes of them): what couples examples, but not these, is not found. The same model, loss and
        shapes are not checked again, until a mode or an attribute of a module that is a number, a text or a truth value changes. If the
        forward pass depends on something else that changes (a list, a configuration object, a hook), give it a fresh copy of the model.

        Args:
            model: any module whose forward calls its layers. Linear, Conv1d, Conv2d and Embedding keep factors; other layers with parameters
                go through `torch.func` one layer at a time, with the same numbers. Batch norm in eval mode, no active dropout.
            loss: a name (``cross_entropy``, ``squared_error``, ``mse``, ``binary_cross_entropy``; constants in `models.losses`), or a callable
                ``(outputs, y) -> (N,)`` losses.
            x: tensor or (nested) dict of tensors, examples first; a dict is passed as ``model(**x)``. Kept by reference: do not write into it.
            y: likewise, passed to ``loss``.
            memory: bytes for kept factors and work buffers, beside the model, the results and the graph of one chunk. Factors that take more
                than half of it are not kept. Live bytes: on the CPU the C library's allocator may hold up to as many again in gaps.
            form: of Gram matrices and norms: ``auto`` counts multiplications layer by layer, ``factored`` and ``materialised`` force one.
            chunk: examples in one pass; by default from ``memory`` and what one example takes. No result depends on it beyond rounding.

        Raises:
            InvalidInput: batch norm in training mode, active dropout, a loss that is no (N,) finite numbers, a model or a loss that couples
                examples, parameters used behind the back of their layer (named), data that is empty, NaN, of mixed dtypes or devices, or of
                a shape that the model does not take.
            NotFound: an unknown name of a loss.
        """
        if form not in FORMS:
            raise InvalidInput(f"form must be one of {', '.join(FORMS)}; {form!r} came.")
        memory, chunk = whole("memory", memory), None if chunk is None else whole("chunk", chunk)
        check_modules(model)
        function = per_example_loss(loss)
        num_examples = check_examples(model, x, y)
        plan = plan_of(model, function, x, y, num_examples)
        chunk = chunk or chunk_size(plan, num_examples, memory, next(model.parameters()).device.type)
        return cls(model, plan, function, x, y, num_examples, memory, form, chunk)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PerExampleGradients(shape={tuple(self.shape)}, dtype={self.dtype}, device={self.device}, kept={self.kept})"

    def _compute(self, which: slice | None = None) -> Iterator[Chunk]:
        """Chunks of factors, from the model."""
        which = which or slice(0, self.shape[0])
        for start in range(which.start, which.stop, self.chunk):
            place = slice(start, min(start + self.chunk, which.stop))
            x, y = take(self._x, place), take(self._y, place)
            found, _ = factors(self._model, self._plan, self._loss, x, y, place.stop - place.start, self._form)
            yield Chunk(place, found)

    def _pass(self) -> Iterator[Chunk]:
        """All chunks, kept or computed again."""
        check_versions(self._versions)
        yield from self._chunks if self.kept else self._compute()

    def factors(self) -> Iterator[tuple[slice, dict[str, Factor]]]:
        """Chunk by chunk, the place of its examples and their factors by name of the parameter; one that the losses do not use is missing.

        With ``form="factored"`` all weights of linear layers and convolutions come as factors, else as rows where these take less memory.
        """
        for chunk in self._pass():
            yield chunk.place, {self.names[i]: factor for i, factor in chunk.factors.items()}

    def columns(self, name: str) -> slice:
        """Where a parameter's gradient stands in the flattened gradient.

        Raises:
            NotFound: an unknown parameter.
        """
        if name not in self.names:
            raise unknown_name("parameter", name, self.names)
        return self._plan.columns[self.names.index(name)]

    def gram(
        self, other: PerExampleGradients | None = None, *, dtype: torch.dtype | None = None, parameters: Sequence[str] | None = None
    ) -> Tensor:
        """(N, N) inner products ``<g_n, g_m>``, or (N, M) with the gradients of ``other``: same parameters, other examples or another point.

        Args:
            other: gradients with the same columns.
            dtype: in which products and sums are formed, and of the result; ``torch.float64`` for float32 gradients costs about twice the time.
                By default that of the parameters.
            parameters: names of those whose gradients count; all by default.

        Raises:
            InvalidInput: an ``other`` with other columns.
            NotFound: an unknown parameter.
        """
        groups = self._groups(parameters)
        if other is None:
            return _finite(self._gram(dtype or self.dtype, groups), "gram")
        if not isinstance(other, PerExampleGradients) or (other.names, other._plan.shapes) != (self.names, self._plan.shapes):
            raise InvalidInput(f"other must hold gradients of the same {self.shape[1]} parameters; {other!r} came.")
        out = torch.zeros(self.shape[0], other.shape[0], dtype=dtype or self.dtype, device=self.device)
        for left in self._blocks():
            for right in other._blocks():
                add_gram(out, left, right, groups, form=self._form, work=self._memory // 4)
        return _finite(out, "gram")

    def _groups(self, parameters: Sequence[str] | None) -> list[list[int]]:
        """Indices of parameters layer by layer, of those named."""
        if parameters is None:
            return self._plan.groups
        for name in parameters:
            if name not in self.names:
                raise unknown_name("parameter", name, self.names)
        chosen = {self.names.index(name) for name in parameters}
        return [kept for group in self._plan.groups if (kept := [index for index in group if index in chosen])]

    def _gram(self, dtype: torch.dtype, groups: list[list[int]]) -> Tensor:
        out = torch.zeros(self.shape[0], self.shape[0], dtype=dtype, device=self.device)
        places = []
        for b, left in enumerate(self._blocks()):
            add_gram(out, left, None, groups, form=self._form, work=self._memory // 4)
            for right in self._blocks(b + 1):
                add_gram(out, left, right, groups, form=self._form, work=self._memory // 4)
            places += [chunk.place for chunk in left]
        mirror(out, places)
        return out

    def _blocks(self, first: int = 0) -> Iterator[list[Chunk]]:
        """Runs of chunks whose factors take a quarter of the budget: all of them where they are kept, else pairs of runs fit."""
        check_versions(self._versions)
        if self.kept:
            yield from [self._chunks][first:]
            return
        chunks = max(1, self._memory // 4 // max(1, self._plan.bytes_kept[self._form] * self.chunk))
        step = chunks * self.chunk
        for start in range(first * step, self.shape[0], step):
            yield list(self._compute(slice(start, min(start + step, self.shape[0]))))

    def squared_norms(self) -> Tensor:
        """(N,) squared lengths ``|g_n|^2``, the diagonal of the Gram matrix."""
        out = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        for chunk in self._pass():
            for factor in chunk.factors.values():
                if self._form == "materialised":
                    factor = Rows(factor.rows())
                out[chunk.place] += factor.squared_norms()
        return _finite(out, "squared_norms")

    def mean(self) -> Tensor:
        """(d,) mean gradient, that of the mean loss."""
        return self.T @ torch.full((self.shape[0],), 1 / self.shape[0], dtype=self.dtype, device=self.device)

    def __matmul__(self, vector: Tensor) -> Tensor:
        """``G @ v``: (N,) inner products with a direction (d,), or (N, k) with the columns of (d, k)."""
        self._check(vector, self.shape[1], "G @ v takes v")
        out = torch.zeros(self.shape[0], *vector.shape[1:], dtype=self.dtype, device=self.device)
        for chunk in self._pass():
            for i, factor in chunk.factors.items():
                part = vector[self._plan.columns[i]]
                out[chunk.place] += factor.matvec(part) if vector.dim() == 1 else factor.rows() @ part
        return _finite(out, "G @ v")

    @property
    def T(self) -> Transposed:
        """The (d, N) matrix, for ``G.T @ w``."""
        return Transposed(self)

    def _transposed_product(self, weights: Tensor) -> Tensor:
        self._check(weights, self.shape[0], "G.T @ w takes w")
        out = torch.zeros(self.shape[1], *weights.shape[1:], dtype=self.dtype, device=self.device)
        for chunk in self._pass():
            part = weights[chunk.place]
            for i, factor in chunk.factors.items():
                columns = out[self._plan.columns[i]]
                if weights.dim() == 1:
                    columns += factor.rmatvec(part)
                else:
                    columns.addmm_(factor.rows().T, part)
        return _finite(out, "G.T @ w")

    def dense(self, *, out: Tensor | None = None) -> Tensor:
        """(N, d) matrix of all gradients. ``out``, of this shape and dtype, is filled and returned: fresh memory costs as much as the gradients."""
        if out is None:
            out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        elif (out.shape, out.dtype, out.device) != (self.shape, self.dtype, self.device):
            came = f"{tuple(out.shape)} of {out.dtype} on {out.device}"
            raise InvalidInput(f"out must be {tuple(self.shape)} of {self.dtype} on {self.device}; {came} came.")
        for chunk in self._pass():
            for i, columns in enumerate(self._plan.columns):
                if i in chunk.factors:
                    chunk.factors[i].write(out[chunk.place, columns])
                else:
                    out[chunk.place, columns] = 0
        return out

    def blocks(self) -> Iterator[tuple[Tensor, slice]]:
        """Rows (n, d) of the dense matrix with their place, within a quarter of the budget. One buffer serves all: do not keep them."""
        size = min(self.chunk, max(1, self._memory // (4 * self.shape[1] * self.dtype.itemsize)))
        buffer = torch.empty(size, self.shape[1], dtype=self.dtype, device=self.device)
        for chunk in self._pass():
            length = chunk.place.stop - chunk.place.start
            for start in range(0, length, size):
                which = slice(start, min(start + size, length))
                rows = buffer[: which.stop - which.start]
                for i, columns in enumerate(self._plan.columns):
                    if i in chunk.factors:
                        chunk.factors[i].part(which).write(rows[:, columns])
                    else:
                        rows[:, columns] = 0
                yield rows, slice(chunk.place.start + which.start, chunk.place.start + which.stop)

    def _check(self, vector: Tensor, length: int, what: str) -> None:
        if not isinstance(vector, Tensor) or vector.dim() not in (1, 2) or vector.shape[0] != length:
            came = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise InvalidInput(f"{what} of shape ({length},) or ({length}, k), for G is {tuple(self.shape)}; {came} came.")
        if (vector.dtype, vector.device) != (self.dtype, self.device):
            raise InvalidInput(f"{what} of {self.dtype} on {self.device}; {vector.dtype} on {vector.device} came. Convert it with .to().")


class Transposed:
    """``G.T``: multiplies weights of examples."""

    def __init__(self, gradients: PerExampleGradients):
        self._gradients = gradients
        self.shape = torch.Size(reversed(gradients.shape))
        self.T = gradients

    def __matmul__(self, weights: Tensor) -> Tensor:
        """(d,) sum of the gradients times weights (N,), or (d, k) for (N, k)."""
        return self._gradients._transposed_product(weights)


def _finite(result: Tensor, what: str) -> Tensor:
    if not torch.isfinite(result).all():
        raise NotFinite(
            f"{what} must be finite; NaN or infinite values came out of finite losses. Gradients overflow: use float64 or a smaller loss."
        )
    return result
