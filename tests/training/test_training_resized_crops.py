"""Random resized crops against PyTorch's own antialiased resizing of each rectangle, one after the other."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import generator, normal

from sgdscope.errors import InvalidInput
from sgdscope.training import random_resized_crop_and_flip
from sgdscope.training.resized_crops import _rectangles, _resizing


def loop(x, size, seed, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)):
    draws = generator(seed)
    top, left, tall, wide = _rectangles(len(x), *x.shape[2:], area, aspect, draws)
    mirrored = torch.randint(2, (len(x),), generator=draws).bool()
    crops = []
    for n, image in enumerate(x):
        crop = image[None, :, top[n] : top[n] + tall[n], left[n] : left[n] + wide[n]]
        crop = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)
        crops.append(crop.flip(-1) if mirrored[n] else crop)
    return torch.cat(crops)


@pytest.mark.parametrize(("shape", "size"), [((9, 3, 31, 40), 16), ((5, 1, 12, 9), 20), ((3, 2, 7, 7), 1), ((6, 3, 40, 12), 8)])
def test_equals_the_loop(shape, size):
    x = normal(*shape)
    before = x.clone()
    found = random_resized_crop_and_flip(x, generator(3), size=size)
    assert found.shape == (*shape[:2], size, size) and torch.equal(x, before)
    torch.testing.assert_close(found, loop(x, size, 3), rtol=0, atol=2e-6)  # PyTorch's own weights carry rounding of single precision


def test_the_generator_decides():
    x = normal(8, 1, 20, 20, dtype=torch.float32)
    one, same, other = (random_resized_crop_and_flip(x, generator(seed), size=10) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other) and one.dtype == torch.float32


def test_rectangles_lie_inside_and_have_the_shapes_asked_for():
    height, width = 300, 400
    top, left, tall, wide = _rectangles(4000, height, width, (0.08, 1.0), (3 / 4, 4 / 3), generator(0))
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= height).all() and (left + wide <= width).all()
    share, ratio = tall * wide / (height * width), wide / tall
    assert 0.079 < share.min() < 0.09 and ratio.min() > 0.74 and ratio.max() < 1.35
    small = share[share < 0.5]  # these always fit, so that they are uniform, and log ratios symmetric
    assert abs(small.mean() - 0.29) < 0.01 and abs(ratio[share < 0.5].log().mean()) < 0.02
    free = (left.double() / (width - wide).clamp(min=1))[share < 0.5]
    assert abs(free.mean() - 0.5) < 0.02


def test_the_largest_central_rectangle_where_none_fits():
    """The whole area of an image of another shape than allowed: never fits."""
    top, left, tall, wide = _rectangles(3, 10, 40, (1.0, 1.0), (1.0, 1.0), generator(0))
    assert tall.tolist() == [10] * 3 and wide.tolist() == [10] * 3 and top.tolist() == [0] * 3 and left.tolist() == [15] * 3


def test_weights_keep_constant_images_constant():
    weights = _resizing(torch.tensor([2, 0]), torch.tensor([5, 9]), 9, 4)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 4, dtype=torch.float64))
    assert (weights[0, :, :2] == 0).all() and (weights[0, :, 7:] == 0).all() and (weights >= 0).all()


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(3, 28, 28), {}, r"takes images \(N, C, H, W\), got shape \(3, 28, 28\)"),
        ({"x": 0}, {}, r"takes images \(N, C, H, W\), got dict"),
        (torch.zeros(2, 1, 3, 3), {"size": 0}, r"size must be a whole number of at least 1 \(in pixels\); 0 came"),
        (torch.zeros(2, 1, 3, 3), {"size": 2.0}, r"size must be a whole number of at least 1 \(in pixels\); 2.0 came"),
        (torch.zeros(2, 1, 3, 3), {"area": (0.5, 1.5)}, r"area must be two ascending shares .* got \(0.5, 1.5\)"),
        (torch.zeros(2, 1, 3, 3), {"aspect": (2.0, 1.0)}, r"aspect must be two ascending positive ratios, got \(2.0, 1.0\)"),
    ],
)
def test_refusals(x, options, message):
    with pytest.raises(InvalidInput, match=message):
        random_resized_crop_and_flip(x, generator(), **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_same_images_on_every_device():
    x = normal(8, 3, 9, 9)
    torch.testing.assert_close(
        random_resized_crop_and_flip(x.cuda(), generator(1), size=5).cpu(), random_resized_crop_and_flip(x, generator(1), size=5)
    )
