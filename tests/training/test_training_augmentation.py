"""Random crops and flips against a loop over the images."""

import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import generator, normal

from sgdscope.errors import InvalidInput
from sgdscope.training import random_crop_and_flip


def loop(x, shift, mirrored, padding):
    count, channels, height, width = x.shape
    result = torch.zeros_like(x)
    for n in range(count):
        padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=x.dtype)
        padded[:, padding : padding + height, padding : padding + width] = x[n]
        top, left = shift[n].tolist()
        crop = padded[:, top : top + height, left : left + width]
        result[n] = crop.flip(-1) if mirrored[n] else crop
    return result


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("shape", [(9, 3, 6, 5), (1, 1, 1, 1), (4, 2, 3, 8)])
def test_equals_the_loop(padding, shape):
    x = normal(*shape)
    draws = generator(7)
    shift = torch.randint(2 * padding + 1, (shape[0], 2), generator=draws)
    mirrored = torch.randint(2, (shape[0], 1), generator=draws)
    before = x.clone()
    assert torch.equal(random_crop_and_flip(x, generator(7), padding=padding), loop(x, shift, mirrored, padding))
    assert torch.equal(x, before)


def test_the_generator_decides():
    x = normal(8, 1, 6, 6, dtype=torch.float32)
    one, same, other = (random_crop_and_flip(x, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other) and one.dtype == torch.float32
    draws = generator(1)
    first, second = random_crop_and_flip(x, draws), random_crop_and_flip(x, draws)
    assert torch.equal(first, one) and not torch.equal(second, one)


def test_shifts_and_flips_are_uniform_and_independent():
    """All 5 * 5 * 2 outcomes of a one-pixel image, padding 2, by where the pixel and its marked neighbour land."""
    x = torch.zeros(5000, 1, 5, 6)
    x[:, 0, 2, 2], x[:, 0, 2, 3] = 1.0, 2.0
    found = random_crop_and_flip(x, generator(0), padding=2)
    place = (found == 1).flatten(1).int().argmax(1)
    mirrored = (found == 2).flatten(1).int().argmax(1) < place
    counts = torch.zeros(60).index_add_(0, 2 * place + mirrored, torch.ones(5000))
    counts = counts[counts > 0]
    assert len(counts) == 50 and float((counts - 100).square().sum() / 100) < chi2.ppf(0.999, 49)


@pytest.mark.parametrize(
    ("x", "padding", "message"),
    [
        (torch.zeros(3, 28, 28), 4, r"takes images \(N, C, H, W\), got shape \(3, 28, 28\)"),
        ({"x": torch.zeros(2, 1, 3, 3)}, 4, r"takes images \(N, C, H, W\), got dict"),
        (torch.zeros(2, 1, 3, 3), -1, "padding must be a whole number of at least 0; -1 came"),
        (torch.zeros(2, 1, 3, 3), 1.5, "padding must be a whole number of at least 0; 1.5 came"),
    ],
)
def test_refusals(x, padding, message):
    with pytest.raises(InvalidInput, match=message):
        random_crop_and_flip(x, generator(), padding=padding)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_same_images_on_every_device():
    x = normal(8, 3, 6, 6)
    assert torch.equal(random_crop_and_flip(x.cuda(), generator(1)).cpu(), random_crop_and_flip(x, generator(1)))
