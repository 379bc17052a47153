"""Which model, data and loss an estimator was refreshed on, so that its use on others is refused."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from sgdscope.data.cache import digest
from sgdscope.errors import InvalidInput
from sgdscope.models.examples import Examples, check_versions, leaves, versions
from sgdscope.models.losses import Loss, LossFunction, per_example_loss
from sgdscope.models.parameters import trainable


class RefreshedOn:
    """The model (the object, whatever its parameters become), the data (their values), and the loss where it matters.

    After `restored`, in another process, the model is known by the names and shapes of its parameters, the loss by its name, and the data by
    their checksum, until the first use.
    """

    def __init__(self, model: nn.Module, x: Examples, y: Examples, loss: Loss | None = None):
        self._layout = _layout(model)
        self._loss: LossFunction | None = None if loss is None else per_example_loss(loss)
        self._loss_name = None if self._loss is None else _name(self._loss)
        self._adopt(model, x, y)

    def _adopt(self, model: nn.Module, x: Examples, y: Examples) -> None:
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self._data: list[tuple[str, Tensor, int]] | None = versions(x, y)
        self._digest: str | None = None

    def check(self, model: nn.Module, x: Examples, y: Examples) -> None:
        """Refuses others.

        Raises:
            InvalidInput: another model, other data, or the same tensors written to since.
        """
        problem = self.problem(model, x, y)
        if problem is not None:
            raise InvalidInput(problem)

    def check_loss(self, loss: Loss) -> None:
        """Refuses another loss than that of the refresh.

        Raises:
            InvalidInput: another function; after `restored` one of another name, and then any but the first that came.
        """
        function = per_example_loss(loss)
        name = _name(function)
        if self._loss is None and self._loss_name in (None, name):
            self._loss, self._loss_name = function, name
        if self._loss is None or self._loss != function:
            came = name if name != self._loss_name else "another object of this name"
            raise InvalidInput(
                f"the estimator was refreshed with the loss {self._loss_name}; {came} came. Pass the same object, or call refresh first."
            )

    def problem(self, model: nn.Module, x: Examples, y: Examples) -> str | None:
        """What is wrong with these, None if they are the ones."""
        if _layout(model) != self._layout or (self._model is not None and self._model() is not model):
            return "the estimator was refreshed on another model. Call refresh with this one first."
        other = "the estimator was refreshed on other data. Call refresh with these first."
        if self._data is None:
            if _digest(x, y) != self._digest:
                return other
            self._adopt(model, x, y)
            return None
        for name, tensor, version in self._data:
            if tensor._version != version:
                return f"{name} must stay as it was when the estimator was refreshed; it was written to since. Call refresh again."
        return None if self._same(x, y) else other

    def _same(self, x: Examples, y: Examples) -> bool:
        given = [*leaves(x, "x"), *leaves(y, "y")]
        if [name for name, _ in given] != [name for name, *_ in self._data]:
            return False
        return all(
            _one(tensor) == _one(known) or _equal(tensor, known) for (_, tensor), (_, known, _) in zip(given, self._data, strict=True)
        )

    def state(self) -> dict[str, object]:
        """Layout of the model, checksum of the data, and name of the loss."""
        if self._data is not None and self._digest is None:
            check_versions(self._data)
            self._digest = digest({name: tensor for name, tensor, _ in self._data})
        return {"layout": [[name, list(shape)] for name, shape in self._layout], "data": self._digest, "loss": self._loss_name}

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles know as much as a `state`: they take up the first model and data that fit."""
        return self.state()

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(RefreshedOn.restored(state).__dict__)

    @classmethod
    def restored(cls, state: dict[str, object]) -> RefreshedOn:
        """From a `state`."""
        new = cls.__new__(cls)
        new._layout = [(name, tuple(shape)) for name, shape in state["layout"]]
        new._model, new._data, new._digest = None, None, state["data"]
        new._loss, new._loss_name = None, state.get("loss")
        return new


def _layout(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(parameter.shape)) for name, parameter in trainable(model).items()]


def _name(loss: LossFunction) -> str:
    named = loss if hasattr(loss, "__qualname__") else type(loss)
    return f"{named.__module__}.{named.__qualname__}"


def _digest(x: Examples, y: Examples) -> str:
    return digest(dict([*leaves(x, "x"), *leaves(y, "y")]))


def _one(tensor: Tensor) -> tuple[object, ...]:
    """Two tensors with this in common, both alive, are views of the same memory."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _equal(tensor: Tensor, known: Tensor) -> bool:
    return (tensor.shape, tensor.dtype) == (known.shape, known.dtype) and torch.equal(tensor, known.to(tensor.device))
