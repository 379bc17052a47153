"""Make the FashionMNIST subset that the package ships.

    python tools/make_fashion_mnist_small.py FOLDER_WITH_FASHION_MNIST

The folder holds ``train-00000-of-00001.parquet`` and ``test-00000-of-00001.parquet`` in the Hugging Face layout. Of each split the rows
``balanced_subset(labels, n, seed=0)`` are taken, n = 6,000 (train) and 2,000 (test): 600 and 200 images a class, going round the classes.
Each image is encoded again as PNG (the smaller of the original and Pillow's ``optimize``) and compared pixel for pixel with its original.
Row numbers in the original split are kept in the column ``index``. Prints class counts and checksums for the README.
"""

from __future__ import annotations

import hashlib
import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sgdscope.data.registry import get
from sgdscope.data.subset import balanced_subset

TARGET = Path(__file__).resolve().parents[1] / "src" / "sgdscope" / "data" / "shipped" / "fashion_mnist_small"
SEED = 0
SHARDS = {"train": 4, "test": 2}  # every file below 1,000,000 bytes


def smallest_png(original: bytes) -> bytes:
    """The image as a PNG that is as small as Pillow makes it, checked to be the same pixels."""
    pixels = np.asarray(Image.open(BytesIO(original)))
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    encoded = min(buffer.getvalue(), original, key=len)
    again = Image.open(BytesIO(encoded))
    if again.mode != "L" or not np.array_equal(np.asarray(again), pixels):
        raise SystemExit("an image changed in re-encoding")
    return encoded


def main(folder: Path) -> None:
    """Write the shards of both splits and print what the README states."""
    spec = get("fashion_mnist_small")
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(spec.classes), "_type": "ClassLabel"},
        "index": {"dtype": "int64", "_type": "Value"},
    }
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64()), ("index", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    TARGET.mkdir(parents=True, exist_ok=True)
    for split, shards in SHARDS.items():
        table = pq.read_table(folder / f"{split}-00000-of-00001.parquet")
        labels = table["label"].to_numpy()
        rows = balanced_subset(labels, spec.splits[split].examples, seed=SEED)
        images = table["image"].combine_chunks().field("bytes")
        print(split, "per class:", np.bincount(labels[rows]).tolist())
        for shard, part in enumerate(np.array_split(rows, shards)):
            columns = {
                "image": [{"bytes": smallest_png(images[int(row)].as_py()), "path": None} for row in part],
                "label": labels[part],
                "index": part,
            }
            path = TARGET / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            table_out = pa.table(columns, schema=schema)
            pq.write_table(table_out, path, compression="zstd", compression_level=19, use_dictionary=False, write_statistics=False)
            print(f"| `{path.name}` | {len(part):,} | {path.stat().st_size:,} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
