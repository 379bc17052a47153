"""Loading: what arrives is what was stored, whatever the layout; bad arguments are refused."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput, NotFound


def test_grey_png_in_shards(mnist):
    pixels, labels, _ = mnist
    data = load_dataset("mnist")
    assert data.x.shape == (50, 1, 28, 28) and data.x.dtype == torch.float32 and data.y.dtype == torch.int64
    assert np.array_equal((data.x[:, 0] * 255).round().numpy(), pixels)
    assert data.y.tolist() == labels.tolist() and data.index.tolist() == list(range(50))
    assert data.available == len(data) == 50 and not data.complete and data.classes == tuple("0123456789")
    assert data.source.startswith("SGDSCOPE_DATA: ") and "(50, 1, 28, 28)" in repr(data)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_colour_images(maker, encode, file_format):
    pixels, labels = maker.images((32, 32, 3), 20)
    maker.write("cifar10", "test", {"img": [encode(p, file_format) for p in pixels], "label": labels}, shards=2)
    data = load_dataset("cifar10", split="test")
    assert data.x.shape == (20, 3, 32, 32)
    assert torch.equal((data.x * 255).round().to(torch.uint8), torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))


def test_cifar100_uses_fine_labels(maker, encode):
    pixels, labels = maker.images((32, 32, 3), 5, num_classes=100)
    maker.write("cifar100", "train", {"img": [encode(p) for p in pixels], "fine_label": [99, 1, 2, 3, 4], "coarse_label": labels})
    data = load_dataset("cifar100")
    assert data.y.tolist() == [99, 1, 2, 3, 4] and len(data.classes) == 100


def test_subset_takes_the_right_images(mnist):
    pixels, labels, _ = mnist
    data = load_dataset("mnist", num_examples=20, seed=3)
    assert np.bincount(data.y).tolist() == [2] * 10
    rows = data.index.numpy()
    assert len(set(rows)) == 20
    assert np.array_equal((data.x[:, 0] * 255).round().numpy(), pixels[rows]) and data.y.tolist() == labels[rows].tolist()
    assert torch.equal(data.x, load_dataset("mnist", num_examples=20, seed=3, cache=False).x)
    assert load_dataset("mnist", num_examples=20, seed=4).index.tolist() != data.index.tolist()


def test_text(maker):
    maker.write("imdb", "train", {"text": ["bad", "", "Ünfair <br />", "good"], "label": [0, 0, 1, 1]}, shards=2)
    data = load_dataset("imdb")
    assert data.x == ("bad", "", "Ünfair <br />", "good") and data.y.tolist() == [0, 0, 1, 1] and data.classes == ("neg", "pos")
    half = load_dataset("imdb", num_examples=2)
    assert sorted(half.y.tolist()) == [0, 1] and all(half.x[i] == data.x[int(half.index[i])] for i in range(2))


def test_pairs_of_texts_and_their_split_names(maker):
    columns = {"premise": ["p0", "p1"], "hypothesis": ["h0", "h1"], "label": [2, 0], "idx": [0, 1]}
    maker.write("mnli", "validation_matched", columns)
    maker.write("mnli", "validation_mismatched", {**columns, "label": [1, 1]})
    assert load_dataset("mnli", split="test").x == (("p0", "h0"), ("p1", "h1"))
    assert load_dataset("mnli", split="test_mismatched").y.tolist() == [1, 1]


def test_table(maker):
    from sgdscope.data.registry import get

    values = np.random.default_rng(0).normal(size=(6, 10))
    columns = {name: values[:, i].tolist() for i, name in enumerate(get("avila").inputs)}
    maker.write("avila", "train", {"label": [0, 1, 2, 3, 4, 11], **dict(reversed(columns.items()))})  # order in the file must not matter
    data = load_dataset("avila")
    assert data.x.dtype == torch.float32 and np.array_equal(data.x.numpy(), values.astype(np.float32)) and data.classes[11] == "Y"


def test_imagenet_is_resized_cut_and_decoded_on_demand(maker, encode):
    rng = np.random.default_rng(0)
    sizes = [(40, 30), (20, 50), (64, 64), (31, 33)]
    pictures = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
    pictures[2] = pictures[2].convert("L")  # ImageNet has some
    files = [encode(np.asarray(p)) for p in pictures]
    names = [f"class {i}" for i in range(1000)]
    maker.write("imagenet", "validation", {"image": files, "label": [7, 8, 9, 999]}, shards=2, row_group_size=1, names=names)
    data = load_dataset("imagenet", split="test", image_size=28)
    assert data.x.shape == (4, 3, 28, 28) and data.classes[999] == "class 999"
    for row, picture in enumerate(pictures):
        w, h = picture.size
        scale = 32 / min(w, h)  # 28 * 256 / 224
        resized = picture.convert("RGB").resize((round(w * scale), round(h * scale)), Image.Resampling.BILINEAR)
        left, top = (resized.width - 28) // 2, (resized.height - 28) // 2
        expected = np.asarray(resized)[top : top + 28, left : left + 28].transpose(2, 0, 1)
        assert np.array_equal((data.x[row] * 255).round().numpy(), expected)
    part = load_dataset("imagenet", split="test", image_size=28, num_examples=2)
    assert torch.equal(part.x, data.x[part.index])
    orders = [load_dataset("imagenet", split="test", image_size=28, num_examples=4, seed=seed) for seed in range(3)]
    assert any(some.index.tolist() != sorted(some.index.tolist()) for some in orders)
    assert all(torch.equal(some.x, data.x[some.index]) and torch.equal(some.y, data.y[some.index]) for some in orders)
    assert load_dataset("imagenet", split="test", image_size=28, num_examples=2, seed=1).index.tolist() != part.index.tolist()
    with pytest.raises(InvalidInput, match=r"image_size must be a whole number of at least 1 \(in pixels\); 0 came"):
        load_dataset("imagenet", split="test", image_size=0)
    with pytest.raises(InvalidInput, match=r"4 images of 30000 x 30000 need 40 GiB, more than the 16 GiB.*num_examples of at most 1"):
        load_dataset("imagenet", split="test", image_size=30_000)


def test_take_repeats_rows_and_changes_the_fingerprint(mnist):
    data = load_dataset("mnist", num_examples=20)
    taken = data.take(torch.tensor([3, 3, 0]))
    assert torch.equal(taken.x, data.x[[3, 3, 0]]) and torch.equal(taken.index, data.index[[3, 3, 0]]) and len(taken) == 3
    assert len({data.fingerprint, taken.fingerprint, data.take(torch.arange(20)).fingerprint}) == 2
    assert re.fullmatch("[0-9a-f]{16}", data.fingerprint)


def test_fingerprint_sees_a_label_and_a_text(maker):
    for name, text, label in (("a", "x", 0), ("b", "x", 1), ("c", "y", 0)):
        maker.write("imdb", "train", {"text": [text, "z"], "label": [label, 1]})
        maker.root.joinpath("imdb").rename(maker.root / name)
    prints = set()
    for name in "abc":
        (maker.root / name).rename(maker.root / "imdb")
        prints.add(load_dataset("imdb").fingerprint)
        (maker.root / "imdb").rename(maker.root / name)
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "num_examples must be at least 1, got 0"),
        ({"num_examples": -5}, "num_examples must be at least 1, got -5"),
        ({"num_examples": 51}, r"num_examples = 51 exceeds the 50 examples of mnist, train \(SGDSCOPE_DATA.*ask for at most 50"),
        ({"num_examples": 2.5}, "num_examples must be a whole number or None, got 2.5"),
        ({"num_examples": True}, "num_examples must be a whole number or None, got True"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
        ({"image_size": 3}, "mnist has no option image_size. Its options: none"),
        ({"device": "nowhere"}, "device 'nowhere' cannot be used here"),
    ],
)
def test_refusals(mnist, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        load_dataset("mnist", **arguments)


def test_unknown_names():
    with pytest.raises(NotFound, match=r"unknown data set 'cifar'. Did you mean 'cifar1.*Valid: mnist, .*random_features"):
        load_dataset("cifar")
    with pytest.raises(NotFound, match=r"unknown split of mnist 'validation'.*Valid: train, test\."):
        load_dataset("mnist", split="validation")
