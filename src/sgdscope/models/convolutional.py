"""Plain convolutional networks: LeNet and the SimpleCNN of the break-even paper."""

from __future__ import annotations

from torch import nn

from sgdscope.errors import InvalidInput, whole
from sgdscope.models.dense import activation_named


def image_shape(in_shape: tuple[int, ...], *, model: str, least: int) -> tuple[int, int, int]:
    """``in_shape`` as (channels, height, width).

    Raises:
        InvalidInput: not three sizes, or an image smaller than ``least`` pixels a side.
    """
    if len(in_shape) != 3 or min(in_shape[1:]) < least:
        raise InvalidInput(f"{model} takes images (channels, height, width) of at least {least} x {least} pixels, got in_shape {in_shape}.")
    return in_shape


def lenet(
    *, in_shape: tuple[int, ...], num_classes: int, activation: str = "relu", pool: str = "max", padding: int | None = None
) -> nn.Sequential:
    """LeNet-5: 5 x 5 convolutions with 6 and 16 channels, each activated and pooled by 2, then dense layers of 120, 84 and the classes.

    61,706 parameters on 28 x 28 x 1 and 62,006 on 32 x 32 x 3 (the number the gradient-structure paper prints). PyTorch's default
    initialisation. Neither activation nor pooling is stated in the paper; tanh and averages are the original's.

    Args:
        in_shape: (channels, height, width).
        num_classes: outputs.
        activation: relu or tanh.
        pool: max or mean.
        padding: of the first convolution; by default 2 on images below 32 pixels, which makes 28 x 28 the original's 32 x 32, else 0.
    """
    channels, height, width = image_shape(in_shape, model="lenet", least=12)
    if pool not in ("max", "mean"):
        raise InvalidInput(f"pool must be 'max' or 'mean', got {pool!r}.")
    if padding is None:
        padding = 2 if min(height, width) < 32 else 0
    if type(padding) is not int or padding < 0:
        raise InvalidInput(f"padding must be a number of pixels, zero or more, got {padding!r}.")
    sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
    if min(sides) < 1:
        raise InvalidInput(f"lenet has no pixel left after its convolutions: in_shape {in_shape} with padding {padding}. Use padding=2.")
    pooling = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        activation_named(activation),
        pooling(2),
        nn.Conv2d(6, 16, 5),
        activation_named(activation),
        pooling(2),
        nn.Flatten(),
        nn.Linear(16 * sides[0] * sides[1], 120),
        activation_named(activation),
        nn.Linear(120, 84),
        activation_named(activation),
        nn.Linear(84, num_classes),
    )


def mnist_cnn(*, in_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """The MNIST CNN of the gradient-variance paper (its code): 2,265,602 parameters on 28 x 28 x 1, 37.8 a training image.

    5 x 5 convolutions (valid) of 64 and 128 channels, each with ReLU and max-pooling by 2, a dense layer of 1000 with ReLU, dense outputs; without
    the code's dropout. PyTorch's default initialisation.

    Args:
        in_shape: (channels, height, width).
        num_classes: outputs.
    """
    channels, height, width = image_shape(in_shape, model="mnist_cnn", least=16)
    sides = [((side - 4) // 2 - 4) // 2 for side in (height, width)]
    return nn.Sequential(
        nn.Conv2d(channels, 64, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * sides[0] * sides[1], 1000),
        nn.ReLU(),
        nn.Linear(1000, num_classes),
    )


def simple_cnn(
    *,
    in_shape: tuple[int, ...],
    num_classes: int,
    batch_norm: bool = False,
    dense: int = 128,
) -> nn.Sequential:
    """SimpleCNN of the break-even paper (App. D): 361,898 parameters on 32 x 32 x 3 with 10 classes.

    3 x 3 convolutions of 32 (same size), 32 (valid), max-pooling by 2, 64 (same), 64 (valid), max-pooling by 2, dense 128, dense
    outputs, ReLU between all; no dropout. Glorot-uniform weights, zero biases. The paper does not state which convolutions are padded;
    this is the authors' earlier public code.

    Args:
        in_shape: (channels, height, width).
        num_classes: outputs.
        batch_norm: SimpleCNN-BN: batch normalisation before each activation, that of the dense layer too (Keras' epsilon 1e-3 and
            running averages of decay 0.99).
        dense: width of the hidden dense layer.
    """
    channels, height, width = image_shape(in_shape, model="simple_cnn", least=10)
    dense = whole("dense", dense, note="the width")

    def activated(layer: nn.Module, features: int) -> list[nn.Module]:
        kind = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
        return [layer, *([kind(features, eps=1e-3, momentum=0.01)] if batch_norm else []), nn.ReLU()]

    sides = [((side - 2) // 2 - 2) // 2 for side in (height, width)]
    model = nn.Sequential(
        *activated(nn.Conv2d(channels, 32, 3, padding=1), 32),
        *activated(nn.Conv2d(32, 32, 3), 32),
        nn.MaxPool2d(2),
        *activated(nn.Conv2d(32, 64, 3, padding=1), 64),
        *activated(nn.Conv2d(64, 64, 3), 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *activated(nn.Linear(64 * sides[0] * sides[1], dense), dense),
        nn.Linear(dense, num_classes),
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model
