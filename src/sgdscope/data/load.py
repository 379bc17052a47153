"""``load_dataset``: from a name to tensors."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from sgdscope.data import cache as disk
from sgdscope.data import decode, hub, locate, synthetic
from sgdscope.data.dataset import Dataset
from sgdscope.data.registry import Spec, get, get_split
from sgdscope.data.subset import balanced_order, check_count
from sgdscope.errors import InvalidInput, whole

MAX_IMAGE_BYTES = 16 * 2**30  # of float32 images that are decoded on demand


def load_dataset(
    name: str,
    *,
    split: str = "train",
    num_examples: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    cache: bool = True,
    **options: object,
) -> Dataset:
    """Load one split of a data set.

    Looks in ``$SGDSCOPE_DATA/<name>`` (parquet in the Hugging Face layout), then the ``datasets`` cache and the hub's file cache, then the
    hub. fashion_mnist_small comes from the package, digits from scikit-learn; gaussian and random_features are computed.

    Args:
        name: one of `sgdscope.data.names()`.
        split: ``train`` or ``test`` (mnli also ``test_mismatched``).
        num_examples: None for all, in the original order; else a class-balanced subset without replacement, going round the classes: every
            prefix is balanced, and a smaller subset is part of a larger one with the same seed. For computed sets the number to compute.
        seed: of the subset, or of the computed numbers. Unused where all examples of stored data are taken.
        device: where the tensors shall live. The choice of examples does not depend on it.
        cache: whether decoded images are kept in the store; they are decoded again where False.
        options: imagenet: ``image_size``; gaussian: ``shape``, ``std``, ``num_classes``; random_features: ``dimension``,
            ``teacher_hidden``, ``definition``, ``num_train``. See `sgdscope.data.synthetic`.

    Returns:
        The examples; images are pixel values / 255, not standardised.

    Raises:
        NotFound: an unknown name or split; or no data: says where it looked and how to provide it, without a network in under 10 s.
        InvalidInput: num_examples below 1 or above what there is; an unknown option; a device that is not there; a damaged file.
    """
    spec = get(name)
    get_split(spec, split)
    unknown = sorted(set(options) - set(spec.options))
    if unknown:
        raise InvalidInput(f"{name} has no option {', '.join(unknown)}. Its options: {', '.join(spec.options) or 'none'}.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InvalidInput(f"seed must be a whole number from 0, got {seed!r}.")
    if num_examples is not None:
        check_count(num_examples, None, name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInput(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    if spec.kind == "computed":
        return _computed(spec, split, num_examples, seed, device, {**spec.options, **options})
    return _stored(spec, split, num_examples, seed, device, cache, {**spec.options, **options})


def _stored(
    spec: Spec, split: str, num_examples: int | None, seed: int, device: str | torch.device, cache: bool, options: dict[str, object]
) -> Dataset:
    found, tried = locate.find(spec, split)
    if found is None and not spec.shipped:
        found, why = hub.download(spec, split)
        tried.append(why)
    if found is None:
        raise hub.not_found(spec, split, tried)
    classes = spec.classes
    if spec.kind == "image":
        images, labels = _decoded(spec, split, found, cache)
        rows = _rows(labels.numpy(), num_examples, seed, f"{spec.name}, {split} ({found.source})")
        x = _scaled(images if num_examples is None else images[torch.from_numpy(rows)], device)
        labels = labels.numpy()
    else:
        labels, classes = decode.read_labels(spec, found)
        rows = _rows(labels, num_examples, seed, f"{spec.name}, {split} ({found.source})")
        if spec.kind == "resized image":
            x = _scaled(_resized(spec, split, found, rows, options["image_size"], cache), device)
        elif spec.kind == "table":
            x = torch.from_numpy(decode.read_features(spec, found)[rows]).to(device)
        else:
            text = decode.read_text(spec, found)
            x = text if num_examples is None else tuple(text[row] for row in rows)
    published = get_split(spec, split).examples
    return Dataset(
        name=spec.name, split=split, x=x, y=torch.from_numpy(labels[rows]).to(device), classes=classes, index=torch.from_numpy(rows),
        available=len(labels), complete=published is None or len(labels) >= published,
        source=found.source, licence=spec.licence, citation=spec.citation, note=spec.note,
    )  # fmt: skip


def _rows(labels: np.ndarray, num_examples: int | None, seed: int, what: str) -> np.ndarray:
    if num_examples is None:
        return np.arange(len(labels))
    check_count(num_examples, len(labels), what)
    return balanced_order(labels, seed=seed)[:num_examples]


def _scaled(images: Tensor, device: str | torch.device) -> Tensor:
    return images.to(device).to(torch.float32).div_(255)


def _decoded(spec: Spec, split: str, found: locate.Found, cache: bool) -> tuple[Tensor, Tensor]:
    """All images (N, C, H, W) uint8 and labels (N,) int64 of a split, from the cache if they are there."""
    path = disk.entry(spec.name, split, found)
    tensors = disk.read(path) if cache else None
    if tensors is None:
        labels, _ = decode.read_labels(spec, found)
        images = decode.read_images(spec, found, np.arange(len(labels)))
        tensors = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels)}
        if cache:
            disk.write(path, tensors)
    return tensors["images"], tensors["labels"]


def _resized(spec: Spec, split: str, found: locate.Found, rows: np.ndarray, size: object, cache: bool) -> Tensor:
    """The images of some rows, resized and cut to ``size`` x ``size``."""
    size = whole("image_size", size, note="in pixels")
    limit = MAX_IMAGE_BYTES // (4 * 3 * size * size)
    if len(rows) > limit:
        raise InvalidInput(
            f"{len(rows):,} images of {size} x {size} need {len(rows) * 12 * size * size / 2**30:,.0f} GiB, more than the "
            f"{MAX_IMAGE_BYTES / 2**30:.0f} GiB allowed; ask for num_examples of at most {limit:,}, or a smaller image_size."
        )
    path = disk.entry(spec.name, split, found, size=size, rows=hashlib.sha256(rows.tobytes()).hexdigest())
    tensors = disk.read(path) if cache else None
    if tensors is None:
        tensors = {"images": torch.from_numpy(decode.read_images(spec, found, rows, size=size))}
        if cache:
            disk.write(path, tensors)
    return tensors["images"]


def _computed(
    spec: Spec, split: str, num_examples: int | None, seed: int, device: str | torch.device, options: dict[str, object]
) -> Dataset:
    classes, available, source = spec.classes, None, "computed"
    if spec.name == "digits":
        images, labels, original = synthetic.digits(split)
        available, source = len(labels), "scikit-learn"
        rows = _rows(labels, num_examples, seed, f"digits, {split}")
        x, y, index = torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]), torch.from_numpy(original[rows])
    else:
        count = synthetic.DEFAULT_EXAMPLES[spec.name][split] if num_examples is None else int(num_examples)
        index = torch.arange(count)
        if spec.name == "gaussian":
            x, y = synthetic.gaussian(count, **options, generator=synthetic.stream_generator(seed, "gaussian", split))
            classes = tuple(map(str, range(options["num_classes"])))
        else:
            x, y = synthetic.random_features(count, split=split, **options, seed=seed)
    return Dataset(
        name=spec.name, split=split, x=x.to(device), y=None if y is None else y.to(device), classes=classes, index=index,
        available=available, complete=True, source=source, licence=spec.licence, citation=spec.citation, note=spec.note,
    )  # fmt: skip
