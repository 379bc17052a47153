"""What each data set is: inputs, classes, splits, licence, hub name. Imports neither torch nor data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sgdscope.errors import unknown_name


@dataclass(frozen=True)
class Split:
    """One split: its name in files and on the hub, and the number of examples of the complete split (None: as many as asked for)."""

    stored_as: str
    examples: int | None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a data set is, wherever its files lie.

    Every data set has the splits ``train`` and ``test`` here; `Split.stored_as` is the name in its files (``validation`` for ImageNet).
    """

    name: str
    kind: Literal["image", "resized image", "text", "table", "computed"]  # "resized image": images of many sizes, decoded on demand
    shape: tuple[int, ...] = ()  # of one input: (C, H, W) or (features,); () for text
    inputs: tuple[str, ...] = ()  # columns of the files that hold the input
    label: str = "label"  # column of the files that holds the class
    classes: tuple[str, ...] = ()  # class names; () where the files name them (ImageNet) or where there are none
    num_classes: int = 0
    splits: Mapping[str, Split] = field(default_factory=dict)
    hub: tuple[str, str] | None = None  # repository and configuration
    shipped: bool = False  # part of this package, read from nowhere else
    options: Mapping[str, object] = field(default_factory=dict)  # further keywords of load_dataset, with their defaults
    licence: str = ""
    citation: str = ""
    note: str = ""  # what to know before using it in place of another


_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_TEXT = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar "
    "cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
    "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree "
    "orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose "
    "sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_CIFAR100 = tuple(_CIFAR100_TEXT.split())
_AVILA_FEATURES = (
    "intercolumnar_distance", "upper_margin", "lower_margin", "exploitation", "row_number", "modular_ratio", "interlinear_spacing",
    "weight", "peak_number", "modular_ratio_interlinear_spacing",
)  # fmt: skip


def _train_test(train: int | None, test: int | None, test_stored_as: str = "test") -> dict[str, Split]:
    return {"train": Split("train", train), "test": Split(test_stored_as, test)}


_SPECS = (
    Spec(
        name="mnist", kind="image", shape=(1, 28, 28), inputs=("image",), classes=_DIGITS, num_classes=10,
        splits=_train_test(60_000, 10_000), hub=("ylecun/mnist", "mnist"), licence="none stated by its authors",
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition, 1998",
    ),
    Spec(
        name="fashion_mnist", kind="image", shape=(1, 28, 28), inputs=("image",), classes=_FASHION, num_classes=10,
        splits=_train_test(60_000, 10_000), hub=("zalando-datasets/fashion_mnist", "fashion_mnist"), licence="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
    ),
    Spec(
        name="fashion_mnist_small", kind="image", shape=(1, 28, 28), inputs=("image",), classes=_FASHION, num_classes=10,
        splits=_train_test(6_000, 2_000), shipped=True, licence="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
        note="part of the package: a class-balanced fixed subset of fashion_mnist, a tenth of its training images",
    ),
    Spec(
        name="cifar10", kind="image", shape=(3, 32, 32), inputs=("img",), classes=_CIFAR10, num_classes=10,
        splits=_train_test(50_000, 10_000), hub=("uoft-cs/cifar10", "plain_text"), licence="none stated by its authors",
        citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    Spec(
        name="cifar100", kind="image", shape=(3, 32, 32), inputs=("img",), label="fine_label", classes=_CIFAR100, num_classes=100,
        splits=_train_test(50_000, 10_000), hub=("uoft-cs/cifar100", "cifar100"), licence="none stated by its authors",
        citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    Spec(
        name="imdb", kind="text", inputs=("text",), classes=("neg", "pos"), num_classes=2,
        splits=_train_test(25_000, 25_000), hub=("stanfordnlp/imdb", "plain_text"), licence="none stated by its authors",
        citation="A. Maas et al., Learning Word Vectors for Sentiment Analysis, ACL 2011",
    ),
    Spec(
        name="avila", kind="table", shape=(10,), inputs=_AVILA_FEATURES, classes=tuple("ABCDEFGHIWXY"), num_classes=12,
        splits=_train_test(10_430, 10_437), licence="none stated with the files",
        citation="C. De Stefano et al., Engineering Applications of Artificial Intelligence 72, 2018, pp. 99-110",
        note="features as published (standardised, with outliers up to 386); not on the hub",
    ),
    Spec(
        name="mnli", kind="text", inputs=("premise", "hypothesis"), classes=("entailment", "neutral", "contradiction"), num_classes=3,
        splits={**_train_test(392_702, 9_815, "validation_matched"), "test_mismatched": Split("validation_mismatched", 9_832)},
        hub=("nyu-mll/glue", "mnli"), licence="several, by genre; see the paper",
        citation="A. Williams, N. Nangia, S. Bowman, A Broad-Coverage Challenge Corpus for Sentence Understanding, NAACL 2018",
        note="test is the matched validation split: the labels of the real test split are not public",
    ),
    Spec(
        name="imagenet", kind="resized image", shape=(3, 224, 224), inputs=("image",), num_classes=1000,
        splits=_train_test(1_281_167, 50_000, "validation"), hub=("ILSVRC/imagenet-1k", "default"), options={"image_size": 224},
        licence="non-commercial research, on the terms of its owners", citation="O. Russakovsky et al., IJCV 115, 2015",
        note="ILSVRC 2012; test is the validation split; needs num_examples: the whole set does not fit in memory",
    ),
    Spec(
        name="digits", kind="computed", shape=(1, 8, 8), classes=_DIGITS, num_classes=10, splits=_train_test(1_438, 359),
        licence="BSD-3-Clause, part of scikit-learn",
        citation="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
        note="part of scikit-learn, always there; rows 4, 9, 14, ... are the test split",
    ),
    Spec(
        name="gaussian", kind="computed", shape=(20,), splits=_train_test(None, None),
        options={"shape": (20,), "std": 10.0, "num_classes": 0},
        licence="computed", note="i.i.d. N(0, std^2) inputs, defaults of the teacher-student paper; no labels unless num_classes is given",
    ),
    Spec(
        name="random_features", kind="computed", shape=(100,), classes=("-1", "1"), num_classes=2, splits=_train_test(None, None),
        options={"dimension": 100, "teacher_hidden": 100, "definition": "paper", "num_train": None},
        licence="computed", note="N(0, I) inputs labelled by a random ReLU teacher, Section 4.2 of the gradient-variance paper",
    ),
)  # fmt: skip

SPECS: Mapping[str, Spec] = {spec.name: spec for spec in _SPECS}


def names() -> tuple[str, ...]:
    """Names of all data sets."""
    return tuple(SPECS)


def get(name: str) -> Spec:
    """The data set called ``name``.

    Raises:
        NotFound: there is none; lists the names.
    """
    if name not in SPECS:
        raise unknown_name("data set", str(name), SPECS)
    return SPECS[name]


def get_split(spec: Spec, split: str) -> Split:
    """The split called ``split``.

    Raises:
        NotFound: the data set has no such split; lists those it has.
    """
    if split not in spec.splits:
        raise unknown_name(f"split of {spec.name}", str(split), spec.splits)
    return spec.splits[split]
