"""Computed data: moments, independence of streams, the teacher against an obvious twin."""

from itertools import islice

import numpy as np
import pytest
import torch

from sgdscope.data import gaussian, gaussian_stream, load_dataset, random_features
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput


def test_digits():
    from sklearn.datasets import load_digits

    train, test = load_dataset("digits"), load_dataset("digits", split="test")
    assert train.x.shape == (1438, 1, 8, 8) and len(test) == 359 and train.complete and test.x.max() == 1 and test.x.min() == 0
    rows = torch.cat([train.index, test.index])
    assert rows.sort().values.tolist() == list(range(1797)) and test.index[:3].tolist() == [4, 9, 14]
    original = load_digits()
    both = torch.cat([train.x, test.x])[:, 0] * 16
    assert np.array_equal(both.numpy(), original.images[rows]) and torch.cat([train.y, test.y]).tolist() == original.target[rows].tolist()
    some = load_dataset("digits", num_examples=30, split="test")
    assert some.y.bincount().tolist() == [3] * 10 and np.array_equal((some.x[:, 0] * 16).numpy(), original.images[some.index])
    with pytest.raises(InvalidInput, match="num_examples = 360 exceeds the 359 examples of digits, test"):
        load_dataset("digits", num_examples=360, split="test")


def test_gaussian_is_that_of_the_paper():
    data = load_dataset("gaussian")
    assert data.x.shape == (100_000, 20) and data.y is None and data.classes == ()
    assert abs(data.x.mean()) < 0.05 and abs(data.x.std() - 10) < 0.05
    correlation = torch.corrcoef(data.x.T) - torch.eye(20)
    assert correlation.abs().max() < 0.02
    assert len(load_dataset("gaussian", split="test")) == 1024
    images = load_dataset("gaussian", num_examples=3, shape=(1, 16, 16), std=1.0, num_classes=4)
    assert images.x.shape == (3, 1, 16, 16) and images.y.shape == (3,) and images.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("name", ["gaussian", "random_features"])
def test_seed_and_split_decide_the_numbers(name):
    def x(**arguments):
        return load_dataset(name, num_examples=50, **arguments).x

    state = torch.get_rng_state()
    assert torch.equal(x(), x())
    assert not torch.equal(x(), x(seed=1)) and not torch.equal(x(), x(split="test"))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"


def test_stream_gives_fresh_batches():
    batches = list(islice(gaussian_stream(4, shape=(2, 3), generator=torch.Generator().manual_seed(0)), 3))
    assert all(batch.shape == (4, 2, 3) for batch in batches) and not torch.equal(batches[0], batches[1])
    first, _ = gaussian(4, shape=(2, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, batches[0])


@pytest.mark.parametrize("definition", ["paper", "authors_code"])
def test_teacher_against_an_obvious_twin(definition):
    x, y = random_features(1500, dimension=6, teacher_hidden=9, definition=definition, seed=5)
    g = stream_generator(5, "random_features", "teacher")
    if definition == "paper":
        theta_1, theta_2, b = (torch.randn(shape, generator=g).double() for shape in ((6, 9), (9,), (1,)))
        theta_1 = torch.stack([column / column.square().sum().sqrt() for column in theta_1.T], dim=1)
    else:
        theta_1, theta_2, b = ((2 * torch.rand(*s, generator=g).double() - 1) / n**0.5 for s, n in (((6, 9), 6), ((9,), 9), ((1,), 9)))
    score = torch.tensor([sum(theta_2[k] * max(0.0, float(row @ theta_1[:, k])) for k in range(9)) + b for row in x.double()])
    if definition == "authors_code":
        score -= score.mean()
    clear = score.abs() > 1e-5
    assert clear.sum() > 1490 and torch.equal(y[clear], (score > 0).long()[clear])
    assert abs(x.mean()) < 0.05 and abs(x.std() - 1) < 0.05


def test_test_split_has_the_teacher_and_the_training_mean():
    """One teacher: labels of the test split are those that the training rule gives to the same inputs."""
    train_x, train_y = random_features(400, dimension=3, teacher_hidden=2000, definition="authors_code", seed=1)
    assert 0.3 < train_y.double().mean() < 0.7
    test_x, test_y = random_features(4000, split="test", dimension=3, teacher_hidden=2000, definition="authors_code", seed=1, num_train=400)
    nearest = torch.cdist(test_x, train_x).argmin(dim=1)
    assert (train_y[nearest] == test_y).double().mean() > 0.85
    _, other = random_features(4000, split="test", dimension=3, teacher_hidden=2000, definition="authors_code", seed=1, num_train=3)
    assert not torch.equal(other, test_y)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gaussian", {"shape": ()}, r"shape must be a tuple of positive integers, got \(\)"),
        ("gaussian", {"shape": (3, 0)}, r"shape must be a tuple of positive integers, got \(3, 0\)"),
        ("gaussian", {"std": 0.0}, "std must be positive and finite, got 0.0"),
        ("gaussian", {"num_classes": -1}, r"num_classes must be 0 \(no labels\) or more, got -1"),
        ("gaussian", {"deviation": 1.0}, "gaussian has no option deviation. Its options: shape, std, num_classes"),
        ("random_features", {"dimension": 0}, "dimension must be at least 1, got 0"),
        ("random_features", {"definition": "other"}, "definition must be 'paper' or 'authors_code', got 'other'"),
        ("random_features", {"definition": "authors_code", "split": "test"}, "needs num_train"),
    ],
)
def test_refusals(name, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load_dataset(name, num_examples=5, **arguments)


def test_an_empty_batch_is_refused():
    with pytest.raises(InvalidInput, match="batch_size must be at least 1, got 0"):
        gaussian_stream(0, generator=torch.Generator())
