"""Facts of the FashionMNIST subset in the package."""

import hashlib
import re
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from sgdscope.data import balanced_subset, load_dataset
from sgdscope.data.locate import SHIPPED

FOLDER = SHIPPED / "fashion_mnist_small"


@pytest.mark.parametrize(
    ("split", "count", "fingerprint", "mean"), [("train", 6000, "21874959a1bd8f1c", 0.285826), ("test", 2000, "ea5cc63aab3c5c7a", 0.288494)]
)
def test_counts_and_pixels(split, count, fingerprint, mean):
    data = load_dataset("fashion_mnist_small", split=split)
    assert data.x.shape == (count, 1, 28, 28) and data.y.bincount().tolist() == [count // 10] * 10 and data.complete
    assert data.x.min() == 0 and data.x.max() == 1 and abs(float(data.x.double().mean()) - mean) < 1e-5
    assert data.fingerprint == fingerprint and data.licence == "MIT" and data.classes[9] == "Ankle boot"


def test_splits_share_no_image():
    images = [{row.tobytes() for row in load_dataset("fashion_mnist_small", split=split).x.numpy()} for split in ("train", "test")]
    assert not images[0] & images[1] and len(images[0]) == 6000


def test_files_are_those_of_the_readme_and_small():
    readme = (FOLDER / "README.md").read_text()
    rows = re.findall(r"`(\S+\.parquet)` \| [\d,]+ \| ([\d,]+) \| `(\w+)`", readme)
    stated = {name: (int(size.replace(",", "")), sha) for name, size, sha in rows}
    files = {p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in FOLDER.glob("*.parquet")}
    assert files == stated and len(files) == 6
    assert all(size < 1_000_000 for size, _ in files.values())


def test_licence():
    text = (FOLDER / "LICENSE").read_text()
    assert text.startswith("The MIT License (MIT) Copyright © 2017 Zalando SE") and "WITHOUT WARRANTY OF ANY KIND" in text


def test_nothing_else_can_take_its_place(mnist, maker, encode):
    """The key of a run names the data set, so what is installed must not change it."""
    pixels, labels = maker.images((28, 28), 10)
    maker.write("fashion_mnist_small", "train", {"image": [encode(p) for p in pixels], "label": labels})
    assert len(load_dataset("fashion_mnist_small")) == 6000


def test_it_loads_fast():
    start = time.process_time()
    load_dataset("fashion_mnist_small", cache=False)
    cold = time.process_time() - start
    load_dataset("fashion_mnist_small")
    start = time.process_time()
    load_dataset("fashion_mnist_small")
    assert cold < 6 and time.process_time() - start < 1.5


def test_a_broken_installation_says_so(monkeypatch, tmp_path):
    from sgdscope.data import locate
    from sgdscope.errors import NotFound

    monkeypatch.setattr(locate, "SHIPPED", tmp_path)
    with pytest.raises(NotFound, match=r"the package: no train-\*-of-\*.parquet in .*; install it again"):
        load_dataset("fashion_mnist_small")


def test_equal_to_the_original_pixel_for_pixel(real_data):
    for split, count in (("train", 6000), ("test", 2000)):
        full, small = load_dataset("fashion_mnist", split=split, cache=False), load_dataset("fashion_mnist_small", split=split)
        if not full.complete:
            pytest.skip("the real fashion_mnist here is not complete")
        origin = np.concatenate([pq.read_table(path)["index"].to_numpy() for path in sorted(FOLDER.glob(f"{split}-*"))])
        assert np.array_equal(origin, balanced_subset(full.y.numpy(), count, seed=0))
        assert np.array_equal(small.x.numpy(), full.x.numpy()[origin]) and np.array_equal(small.y, full.y[origin])
