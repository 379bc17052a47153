"""What is refused of a model: whatever makes the loss of an example depend on chance or on other examples.

By the type and the mode of its modules (`check_modules`), and by what a few examples give together and alone (`check_function`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from sgdscope.errors import InvalidInput
from sgdscope.models.parameters import trainable


class NoPerExampleGradients(InvalidInput):
    """A model whose losses may be those of single examples, but whose gradients cannot be taken apart by example."""


def check_function(together: Tensor, again: Tensor, alone: Tensor, largest_output: float = 0.0) -> None:
    """Refuses losses of a few examples that differ between two calls, or between the examples together and alone.

    Losses may differ by sqrt(eps) of the larger one (3.5e-4 in float32), ten times that on a GPU, where convolutions may run in TF32, or by
    32 eps of ``largest_output``: a loss near zero is a difference of outputs.

    Raises:
        InvalidInput: random losses, or losses that depend on other examples.
    """
    together, again, alone = together.detach(), again.detach(), alone.detach()
    scale = max(rounding(together) * float(together.abs().max()), 32 * torch.finfo(together.dtype).eps * largest_output)

    def losses(one: Tensor, other: Tensor) -> list[list[float]]:
        """Of the two examples that differ most."""
        worst = (one - other).abs().topk(min(2, len(one))).indices.sort().values
        return [one[worst].tolist(), other[worst].tolist()]

    if ((together - again).abs() > scale).any():
        first, second = losses(together, again)
        raise InvalidInput(
            "the loss must be a fixed function of the parameters; the same two examples gave the losses "
            f"{first} and then {second}. Switch off what is random (functional dropout, noise, augmentation)."
        )
    if ((together - alone).abs() > scale).any():
        first, second = losses(together, alone)
        raise InvalidInput(
            "each loss must depend on its own example only; two examples gave the losses "
            f"{first} together and {second} alone. The model or the loss couples examples (a statistic or a softmax over the "
            "batch, weights that a batch normalises); take that out."
        )


def rounding(losses: Tensor) -> float:
    """sqrt(eps) of the dtype, ten times that where convolutions may run in TF32."""
    coarse = losses.device.type == "cuda" and losses.dtype == torch.float32
    return (10 if coarse else 1) * torch.finfo(losses.dtype).eps ** 0.5


def largest(outputs: object) -> float:
    """Largest absolute value among the floating tensors in the outputs of a model."""
    tensors = [leaf.detach() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return max((float(tensor.abs().max()) for tensor in tensors if tensor.numel()), default=0.0)


def dropped_share(module: nn.Module) -> float:
    """Share of its values that a module by itself drops at random in training mode; 0 for none."""
    share = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0.0)  # recurrent layers, attention
    between_layers = isinstance(module, nn.RNNBase) and module.num_layers == 1  # of which there is one: nothing is dropped
    return float(share) if isinstance(share, float | int) and not between_layers else 0.0


def check_modules(model: nn.Module) -> None:
    """Refuses modules whose mode makes per-example gradients meaningless, and models without trainable parameters.

    Raises:
        InvalidInput: batch norm with batch statistics, active dropout, embeddings with ``max_norm`` or ``scale_grad_by_freq``, lazy or no
            trainable parameters, an autocast region, not a module.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"model must be a torch.nn.Module; {type(model).__name__} came. Wrap a function in a module with its parameters."
        )
    for name, module in model.named_modules():
        _check(name, module)
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InvalidInput(f"parameters must be initialised; {name!r} is lazy. Run the model once.")
    kinds = {parameter.device.type for parameter in trainable(model).values()}
    if any(torch.is_autocast_enabled(kind) for kind in kinds):
        raise NoPerExampleGradients(
            "per-example gradients need one dtype throughout; an autocast region is active. Leave it, or convert the model."
        )


def _check(name: str, module: nn.Module) -> None:
    where = f"{type(module).__name__} {name!r}"
    if isinstance(module, _NormBase):
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            what, cure = "has no running statistics", "Make it with track_running_stats=True"
            if module.training and module.running_mean is not None:
                what, cure = "is in training mode", "Call model.eval()"
            raise InvalidInput(
                f"batch norm must use fixed statistics; {where} {what}, so that each loss depends on the other examples and an example has no "
                f"gradient of its own. {cure}, or use group or layer norm."
            )
        if module.training and module.track_running_stats:
            raise InvalidInput(f"layers must not change while they are measured; {where} updates running statistics. Call model.eval().")
    share = dropped_share(module)
    if module.training and share > 0:
        raise InvalidInput(
            f"the loss must be a fixed function of the parameters; {where} drops a random share of {share:g} in training mode. "
            "Call model.eval(), or set the share to 0."
        )
    if isinstance(module, nn.RReLU) and module.training:
        raise InvalidInput(f"the loss must be a fixed function of the parameters; {where} is random in training mode. Call model.eval().")
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and (module.max_norm is not None or module.scale_grad_by_freq):
        which = (
            "max_norm rescales its weight in each forward pass" if module.max_norm is not None else "scale_grad_by_freq mixes the examples"
        )
        raise NoPerExampleGradients(f"layers must not change while they are measured or mix examples; {where}: {which}. Switch that off.")
