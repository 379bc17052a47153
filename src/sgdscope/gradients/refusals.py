"""What is refused by the type and the mode of a module: whatever makes the loss of an example depend on chance or on other examples."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from sgdscope.errors import InvalidInput


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
    parameters = list(model.named_parameters())
    for name, parameter in parameters:
        if is_lazy(parameter):
            raise InvalidInput(f"parameters must be initialised; {name!r} is lazy. Run the model once.")
    if not any(parameter.requires_grad for _, parameter in parameters):
        raise InvalidInput(
            f"the model must have trainable parameters; none of its {len(parameters)} requires a gradient. Call requires_grad_() on some."
        )
    kinds = {parameter.device.type for _, parameter in parameters}
    if any(torch.is_autocast_enabled(kind) for kind in kinds):
        raise InvalidInput("per-example gradients need one dtype throughout; an autocast region is active. Leave it, or convert the model.")


def _check(name: str, module: nn.Module) -> None:
    where = f"{type(module).__name__} {name!r}"
    if isinstance(module, _NormBase):
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            what = "is in training mode" if module.training else "has no running statistics"
            raise InvalidInput(
                f"batch norm must use fixed statistics; {where} {what}, so that each loss depends on the other examples and an example has no "
                "gradient of its own. Call model.eval(), or use group or layer norm."
            )
        if module.training and module.track_running_stats:
            raise InvalidInput(f"layers must not change while they are measured; {where} updates running statistics. Call model.eval().")
    share = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0.0)
    if module.training and isinstance(share, float | int) and share > 0 and not (isinstance(module, nn.RNNBase) and module.num_layers == 1):
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
        raise InvalidInput(f"layers must not change while they are measured or mix examples; {where}: {which}. Switch that off.")
