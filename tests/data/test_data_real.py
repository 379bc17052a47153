"""The real data, where SGDSCOPE_DATA names it: published counts and pixel statistics."""

import pytest

from sgdscope.data import load_dataset
from sgdscope.errors import NotFound


def load(name, **arguments):
    try:
        return load_dataset(name, cache=False, **arguments)
    except NotFound as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.mark.parametrize(
    ("name", "split", "mean", "std"),
    [
        ("cifar10", "test", (0.4942, 0.4851, 0.4504), (0.2467, 0.2429, 0.2616)),
        ("mnist", "train", (0.1307,), (0.3081,)),
        ("fashion_mnist", "test", (0.2868,), (0.3524,)),
    ],
)
def test_pixel_statistics(real_data, name, split, mean, std):
    data = load(name, split=split)
    if not data.complete:
        pytest.skip(f"{name} is not complete here")
    x = data.x.double()
    assert x.mean(dim=(0, 2, 3)).tolist() == pytest.approx(mean, abs=1e-4)
    assert x.std(dim=(0, 2, 3)).tolist() == pytest.approx(std, abs=1e-4)


def test_cifar100_subset_is_balanced(real_data):
    data = load("cifar100", split="test", num_examples=200)
    assert data.y.bincount(minlength=100).tolist() == [2] * 100


def test_imdb(real_data):
    data = load("imdb", split="test", num_examples=1000)
    assert data.y.bincount().tolist() == [500, 500] and all(isinstance(text, str) and len(text) > 20 for text in data.x)


def test_avila(real_data):
    data = load("avila")
    assert data.x.shape == (10_430, 10)
    assert data.y.bincount().tolist() == [4286, 5, 103, 352, 1095, 1961, 446, 519, 831, 44, 522, 266]
    few = load("avila", num_examples=120)
    assert few.y.bincount().min() == 5  # class B has no more than 5
