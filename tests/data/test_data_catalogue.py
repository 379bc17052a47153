"""The list of data sets: right, fast, without torch."""

import subprocess
import sys

import pytest

from sgdscope.data import available, describe, names
from sgdscope.data.registry import SPECS

ALL = (
    "mnist", "fashion_mnist", "fashion_mnist_small", "cifar10", "cifar100", "imdb", "avila", "mnli", "imagenet", "digits", "gaussian",
    "random_features",
)  # fmt: skip


def test_names_and_registry():
    assert names() == ALL
    for spec in SPECS.values():
        assert {"train", "test"} <= set(spec.splits) and spec.licence
        assert not spec.classes or len(set(spec.classes)) == spec.num_classes


def test_without_data():
    by_name = {entry.name: entry for entry in describe()}
    assert tuple(by_name) == ALL
    assert available() == ("fashion_mnist_small", "digits", "gaussian", "random_features")
    small = by_name["fashion_mnist_small"]
    assert (small.place, dict(small.examples), small.complete, small.licence) == ("the package", {"train": 6000, "test": 2000}, True, "MIT")
    assert by_name["cifar10"].place == "hub" and by_name["cifar10"].complete is None and by_name["avila"].place == "absent"
    assert by_name["cifar10"].published == {"train": 50_000, "test": 10_000} and set(by_name["cifar10"].examples.values()) == {None}


def test_with_data(mnist, maker, encode):
    pixels, labels = maker.images((28, 28), 3)
    entry = next(entry for entry in describe() if entry.name == "mnist")
    assert (entry.place, entry.examples, entry.complete, entry.here) == ("SGDSCOPE_DATA", {"train": 50, "test": None}, False, True)
    maker.write("mnist", "test", {"image": [encode(p) for p in pixels], "label": labels})
    assert next(entry for entry in describe() if entry.name == "mnist").examples == {"train": 50, "test": 3}


def test_damaged_data_is_named_and_stops_nothing(mnist):
    mnist[2][0].write_bytes(b"junk")
    entry = next(entry for entry in describe() if entry.name == "mnist")
    assert entry.place == "damaged" and "expected a complete parquet file" in entry.source and not entry.here
    assert "mnist" not in available()


def test_fast_and_without_torch():
    code = """
import sys, time
from sgdscope.data import describe
describe()
print("torch" in sys.modules, "datasets" in sys.modules, time.process_time())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch_imported, datasets_imported, seconds = done.stdout.split()
    assert (torch_imported, datasets_imported) == ("False", "False") and float(seconds) < 2


def test_every_public_name_is_there():
    import sgdscope.data

    assert set(sgdscope.data.__all__) == set(sgdscope.data._MODULES) <= set(dir(sgdscope.data))
    for name in sgdscope.data.__all__:
        assert getattr(sgdscope.data, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sgdscope.data.nothing
