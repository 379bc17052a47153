"""Tiny data sets in the Hugging Face layout, and a place without caches, store or data."""

import importlib.util
import json
import os
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
REAL_DATA = os.environ.get("SGDSCOPE_DATA")


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """No data, empty caches and store; the hub is a closed port of this machine."""
    monkeypatch.delenv("SGDSCOPE_DATA", raising=False)
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE", "HF_HUB_CACHE", *PROXIES):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    if importlib.util.find_spec("huggingface_hub"):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def real_data(monkeypatch):
    """The real data that the environment names; tests that take it are skipped without."""
    if not REAL_DATA:
        pytest.skip("SGDSCOPE_DATA is not set: no real data")
    monkeypatch.setenv("SGDSCOPE_DATA", REAL_DATA)
    return REAL_DATA


def encoded(pixels, file_format="PNG"):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    return buffer.getvalue()


class Maker:
    """Writes tiny data sets below ``root`` and remembers nothing."""

    def __init__(self, root):
        self.root = root

    def table(self, columns, *, label="label", names=None):
        arrays = {}
        for name, values in columns.items():
            if isinstance(values[0], bytes):
                kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
                arrays[name] = pa.array([{"bytes": value, "path": None} for value in values], kind)
            else:
                arrays[name] = pa.array(values)
        table = pa.table(arrays)
        if names:
            features = {label: {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        return table

    def write(self, name, split, columns, *, shards=1, row_group_size=None, **keywords):
        """``columns`` as parquet in ``shards`` files; returns their paths."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        table = self.table(columns, **keywords)
        bounds = np.linspace(0, table.num_rows, shards + 1).astype(int)
        paths = []
        for shard in range(shards):
            path = folder / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table.slice(bounds[shard], bounds[shard + 1] - bounds[shard]), path, row_group_size=row_group_size)
            paths.append(path)
        return paths

    def images(self, shape, count, *, seed=0, num_classes=10):
        """Random pixels (count, H, W[, 3]) and labels that go round the classes."""
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8), [int(row % num_classes) for row in range(count)]


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """A `Maker` whose folder is SGDSCOPE_DATA."""
    monkeypatch.setenv("SGDSCOPE_DATA", str(tmp_path / "hub_layout"))
    (tmp_path / "hub_layout").mkdir()
    return Maker(tmp_path / "hub_layout")


@pytest.fixture
def mnist(maker):
    """A tiny MNIST train split in three shards, unequal classes; gives (pixels, labels, paths)."""
    pixels, labels = maker.images((28, 28), 50)
    labels[40:] = [0] * 10
    paths = maker.write("mnist", "train", {"image": [encoded(p) for p in pixels], "label": labels}, shards=3, row_group_size=7)
    return pixels, np.array(labels), paths


@pytest.fixture
def encode():
    """Pixels to the bytes of a lossless image file."""
    return encoded
