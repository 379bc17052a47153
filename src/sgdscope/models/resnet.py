"""Residual networks: the small ones for CIFAR (8 and 32 layers, shortcuts without parameters) and the 18-layer one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.models.convolutional import image_shape


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


class PaddedShortcut(nn.Module):
    """Option A of He et al. (2015): every second pixel, and new channels of zeros, half of them before and half behind. No parameters."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        before = (channels_out - channels_in) // 2
        self.padding = (0, 0, 0, 0, before, channels_out - channels_in - before)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H/2, W/2), sizes rounded up."""
        return F.pad(x[:, :, ::2, ::2], self.padding)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions without biases, each normalised if asked, and a shortcut: relu(f(x) + s(x))."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, batch_norm: bool, projection: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            _norm(channels_out, batch_norm),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            _norm(channels_out, batch_norm),
        )
        self.shortcut: nn.Module
        if stride == 1 and channels_in == channels_out:
            self.shortcut = nn.Identity()
        elif projection:
            convolution = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, _norm(channels_out, batch_norm))
        else:
            self.shortcut = PaddedShortcut(channels_in, channels_out)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        return self.activation(self.residual(x) + self.shortcut(x))


def _stages(widths: Sequence[int], blocks: int, *, batch_norm: bool, projection: bool) -> list[nn.Module]:
    """``blocks`` blocks for each width; each stage but the first halves the image in its first block."""
    layers: list[nn.Module] = []
    for stage, (before, width) in enumerate(pairwise([widths[0], *widths])):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(BasicBlock(width if block else before, width, stride, batch_norm=batch_norm, projection=projection))
    return layers


def _cifar(blocks: int, in_shape: tuple[int, ...], num_classes: int, batch_norm: bool) -> nn.Sequential:
    channels, _, _ = image_shape(in_shape, model=f"resnet{6 * blocks + 2}", least=4)
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        _norm(16, batch_norm),
        nn.ReLU(),
        *_stages((16, 32, 64), blocks, batch_norm=batch_norm, projection=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return model


def resnet8(*, in_shape: tuple[int, ...], num_classes: int, batch_norm: bool = True) -> nn.Sequential:
    """ResNet-8 for CIFAR: 3 stages (16, 32, 64 channels) of one block, option-A shortcuts; 75,290 parameters on 3 channels, 10 classes.

    Weights normal with variance 2 / inputs, also in the last layer; its bias by PyTorch's default. The gradient-variance paper's CIFAR-10
    runs are without batch normalisation: ``batch_norm=False``, 74,810 parameters, nothing in its place. (Its App. C.1 counts about 3
    parameters a training image for ResNet-8; of this network, that of its code, there are 1.5.)
    """
    return _cifar(1, in_shape, num_classes, batch_norm)


def resnet32(*, in_shape: tuple[int, ...], num_classes: int, batch_norm: bool = True) -> nn.Sequential:
    """ResNet-32 for CIFAR: as `resnet8` with 5 blocks a stage; 464,154 parameters on 3 channels, 10 classes.

    Without batch normalisation (461,882 parameters) the outputs start about 2^15 too large in variance, so it needs very small rates.
    """
    return _cifar(5, in_shape, num_classes, batch_norm)


def resnet18(*, in_shape: tuple[int, ...], num_classes: int, batch_norm: bool = True, stem: str = "cifar") -> nn.Sequential:
    """ResNet-18 of He et al. (2015): 4 stages (64 to 512 channels) of two blocks, shortcuts by 1 x 1 convolutions.

    11,173,962 parameters with the CIFAR stem on 3 channels and 10 classes; 11,689,512 with the ImageNet stem and 1,000 classes.
    Convolutions normal with variance 2 / outputs, the last layer by PyTorch's default.

    Args:
        in_shape: (channels, height, width).
        num_classes: outputs.
        batch_norm: normalise after each convolution.
        stem: ``cifar``, one 3 x 3 convolution at full size; or ``imagenet``, 7 x 7 with stride 2 and max-pooling by 2.
    """
    if stem not in ("cifar", "imagenet"):
        raise InvalidInput(f"stem must be 'cifar' or 'imagenet', got {stem!r}.")
    channels, _, _ = image_shape(in_shape, model="resnet18", least=8 if stem == "cifar" else 32)
    small = stem == "cifar"
    first = nn.Conv2d(channels, 64, 3, padding=1, bias=False) if small else nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    model = nn.Sequential(
        first,
        _norm(64, batch_norm),
        nn.ReLU(),
        *([] if small else [nn.MaxPool2d(3, stride=2, padding=1)]),
        *_stages((64, 128, 256, 512), 2, batch_norm=batch_norm, projection=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, num_classes),
    )
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return model
