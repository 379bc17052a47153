"""From files in the Hugging Face layout to arrays: labels, images, tables, text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sgdscope.data.locate import Found, damaged
from sgdscope.data.registry import Spec

_FORMATS = ("PNG", "WEBP", "JPEG")
_MODES = {1: "L", 3: "RGB"}


def read_labels(spec: Spec, found: Found) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of all rows and the class names.

    Returns:
        (N,) int64 in [0, num_classes), and the names: those of the registry, else those in the file, else the numbers.

    Raises:
        InvalidInput: a damaged file, a missing column, no rows, a label that is no class; names the file.
    """
    parts = []
    names: tuple[str, ...] = ()
    for path, _, table in _batches(found, (spec.label,), None):
        column = table[spec.label]
        if not pa.types.is_integer(column.type):
            raise damaged(path, f"integer labels in column {spec.label!r}", f"type {column.type}")
        if column.null_count:
            raise damaged(path, f"a label in every row of column {spec.label!r}", f"{column.null_count} empty")
        labels = column.to_numpy().astype(np.int64)
        wrong = labels[(labels < 0) | (labels >= spec.num_classes)]
        if len(wrong):
            raise damaged(path, f"labels from 0 to {spec.num_classes - 1} in column {spec.label!r}", f"label {wrong[0]}")
        parts.append(labels)
        names = names or _class_names(table.schema, spec.label)
    labels = np.concatenate(parts) if parts else np.empty(0, np.int64)
    if not len(labels):
        raise damaged(found.files[0], "at least one row", "no rows")
    if len(names) != spec.num_classes:
        names = tuple(map(str, range(spec.num_classes)))
    return labels, spec.classes or names


def read_images(spec: Spec, found: Found, rows: np.ndarray, *, size: int | None = None) -> np.ndarray:
    """Decode the images of some rows.

    Args:
        rows: row numbers, in the order of the result.
        size: None: images have the registry's size and mode, others are refused. Else images are converted to RGB, their shorter side is
            resized to ``round(size * 256 / 224)`` pixels (bilinear, antialiased) and the central ``size`` x ``size`` is cut out, which for
            224 is the usual evaluation crop of ImageNet.

    Returns:
        (len(rows), C, H, W) uint8.

    Raises:
        InvalidInput: a damaged file or image, another size or mode; names file and row.
    """
    channels, height, width = (3, size, size) if size else spec.shape
    pixels = np.empty((len(rows), height, width, channels), np.uint8)
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    (column,) = spec.inputs
    for path, start, table in _batches(found, (column,), wanted):
        first, last = np.searchsorted(wanted, [start, start + table.num_rows])
        encoded = _image_bytes(table[column], path, column)
        for place in range(first, last):
            row = int(wanted[place]) - start
            try:
                image = Image.open(BytesIO(encoded[row].as_py() or b""), formats=_FORMATS)
                image.load()
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise damaged(path, f"a PNG, WebP or JPEG image in row {row}", str(error)) from error
            if size:
                image = _resize_and_crop(image, size)
            elif (image.mode, image.size) != (_MODES[channels], (width, height)):
                got = f"{image.width} x {image.height}, mode {image.mode}"
                raise damaged(path, f"an image of {width} x {height} pixels, mode {_MODES[channels]}, in row {row}", got)
            pixels[order[place]] = np.asarray(image).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def read_features(spec: Spec, found: Found) -> np.ndarray:
    """All rows of a table of numbers.

    Returns:
        (N, features) float32.

    Raises:
        InvalidInput: a damaged file, a missing or non-numeric column, a value that is empty, NaN or infinite.
    """
    parts = []
    for path, _, table in _batches(found, spec.inputs, None):
        for name in spec.inputs:
            if not (pa.types.is_floating(table[name].type) or pa.types.is_integer(table[name].type)):
                raise damaged(path, f"numbers in column {name!r}", f"type {table[name].type}")
        features = np.stack([table[name].to_numpy().astype(np.float32) for name in spec.inputs], axis=1)
        if not np.isfinite(features).all():
            row, column = np.argwhere(~np.isfinite(features))[0]
            raise damaged(path, "finite numbers", f"{features[row, column]} in row {row}, column {spec.inputs[column]!r}")
        parts.append(features)
    return np.concatenate(parts)


def read_text(spec: Spec, found: Found) -> tuple[str, ...] | tuple[tuple[str, ...], ...]:
    """All texts: strings where the data set has one text column, else tuples of strings.

    Raises:
        InvalidInput: a damaged file, a missing or non-text column, an empty cell.
    """
    columns: list[list[str]] = [[] for _ in spec.inputs]
    for path, _, table in _batches(found, spec.inputs, None):
        for name, column in zip(spec.inputs, columns, strict=True):
            if not (pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)):
                raise damaged(path, f"text in column {name!r}", f"type {table[name].type}")
            if table[name].null_count:
                raise damaged(path, f"a text in every row of column {name!r}", f"{table[name].null_count} empty")
            column.extend(table[name].to_pylist())
    return tuple(columns[0]) if len(columns) == 1 else tuple(zip(*columns, strict=True))


def _batches(found: Found, columns: tuple[str, ...], wanted: np.ndarray | None) -> Iterator[tuple[Path, int, pa.Table]]:
    """Pieces of the files, each with the row number at which it starts; pieces without a wanted (sorted) row are not read."""
    start = 0
    for path in found.files:
        try:
            for size, read in _pieces(found.format, path, columns):
                if wanted is None or np.searchsorted(wanted, start) < np.searchsorted(wanted, start + size):
                    yield path, start, read()
                start += size
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, f"a complete {found.format} file", str(error)) from error


def _pieces(file_format: str, path: Path, columns: tuple[str, ...]):
    if file_format == "parquet":
        with pq.ParquetFile(path, page_checksum_verification=True) as file:  # where the file has checksums
            _check_columns(path, file.schema_arrow, columns)
            for group in range(file.num_row_groups):
                yield file.metadata.row_group(group).num_rows, lambda group=group: file.read_row_group(group, columns=list(columns))
    else:
        with pa.memory_map(str(path)) as source:
            stream = pa.ipc.open_stream(source)
            _check_columns(path, stream.schema, columns)
            for batch in stream:
                yield batch.num_rows, lambda batch=batch: pa.Table.from_batches([batch]).select(list(columns))


def _check_columns(path: Path, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise damaged(path, f"columns {', '.join(columns)}", f"columns {', '.join(schema.names)}")


def _image_bytes(column: pa.ChunkedArray, path: Path, name: str) -> pa.Array:
    """The encoded images of a column of structs."""
    kind = column.type
    if not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise damaged(path, f"a struct with a field 'bytes' in column {name!r}", f"type {kind}")
    return pa.concat_arrays([chunk.field("bytes") for chunk in column.chunks])


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    image = image.convert("RGB")
    scale = round(size * 256 / 224) / min(image.size)
    image = image.resize([max(size, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Class names in the Hugging Face metadata of a file; () if they are not there."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
