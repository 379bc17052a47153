"""One trajectory of SGD with the variance of gradient estimators measured along it: the runs behind Fig. 3, 6 and 7 of Faghri et al. (2020)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from sgdscope.data import append_copies, corrupt_labels, load_dataset
from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.estimators import SVRG, GradientClustering, MiniBatch
from sgdscope.estimators.sampled import Augment, Sampled
from sgdscope.experiments.gradient_variance.mixture import gaussian_mixture
from sgdscope.models import build
from sgdscope.models.losses import Loss, SmoothedCrossEntropy
from sgdscope.models.parameters import dimension
from sgdscope.probes import Accuracy, Either, EstimatorVariance, Every, From, Recorder, StrongGrowth, record
from sgdscope.runs import Result, checkpoint, run
from sgdscope.training import Constant, Drops, random_crop_and_flip, random_resized_crop_and_flip, train
from sgdscope.training.schedules import Schedule

ESTIMATORS = ("sgd", "sgd2", "svrg", "gc")
PROTOCOLS = ("shared", "authors")
AUGMENTATIONS = {"none": None, "crop_flip": random_crop_and_flip, "resized_crop_flip": random_resized_crop_and_flip}
CHANNELS = {  # mean and standard deviation of the channels in the authors' code
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
MIXTURE = "gaussian_mixture"  # a data set that is computed: 100 classes, inputs of 16 x 16
CHECKPOINT_EVERY = 500


@dataclass(frozen=True)
class Trajectory:
    """Training by plain SGD, and what is measured along it. The defaults are those of the paper's MLP on MNIST (Table 2, App. C.1)."""

    seed: int  # of the weights, the batches, the measurements, the corruption and the duplicates
    dataset: str = "mnist"  # labelled images
    model: str = "mlp"  # linear, mlp, mnist_cnn, lenet, resnet8, ...
    hidden: tuple[int, ...] = (1024, 1024)  # of mlp
    batch_norm: bool = False  # of models that have the choice
    num_examples: int | None = None  # of the training set, class-balanced; all by default
    learning_rate: float = 0.02
    momentum: float = 0.5
    weight_decay: float = 5e-4
    batch_size: int = 128  # B, and K of the clustering
    num_steps: int = 50_000
    drops: tuple[int, ...] = ()  # steps at which the rate is multiplied by drop_factor
    drop_factor: float = 0.1
    augment: str = "none"  # or crop_flip, for training and estimators
    label_smoothing: float = 0.0
    corrupt_share: float = 0.0  # of the labels drawn anew
    corrupt_rows: str = "random"  # or first, as in the authors' code
    duplicate_originals: int = 0  # images of which copies are appended
    duplicate_copies: int = 0  # of each
    estimators: tuple[str, ...] = ESTIMATORS  # to measure; sgd2 has 2 B
    gc_centres: str = "rank1"  # gram, rank1, svd
    gc_steps: int = 10
    gc_sizes: str = "running"  # N_k in the assignment; previous: the paper's text
    gc_pass_batch: int = 32
    gc_biases: bool = False
    update_start: int = 10  # first step of SVRG's snapshot, the clusters, and the measurements
    update_every: int = 2000  # then at the multiples of this (U)
    log_every: int = 500  # measurements at its multiples
    loss_every: int = 0  # loss and accuracy; 0: at 0 and with the measurements
    loss_examples: int | None = None  # a random subset for them; all by default
    growth_every: int = 0  # lengths of all gradients; 0: never
    growth_examples: int | None = None  # a random subset for them; all by default
    repeats: int = 50  # R
    two_pass: tuple[str, ...] = ("sgd",)  # estimators that are measured by the authors' formula too, at twice the cost
    rescaled_to: tuple[float, ...] = ()  # variances to which their formula is rescaled
    protocol: str = (
        "shared"  # or authors: the estimators draw from the generator of the batches, so the trajectory depends on which are measured
    )
    memory: int = 4 << 30  # bytes for factors of gradients
    draws_seed: int | None = None  # of the batches and the measurements, where it is not the seed: the same problem and weights, run again
    image_size: int = 224  # of ImageNet: side of the images in memory; those that are cropped to it at random are 256 / 224 times larger


@lru_cache(maxsize=2)
def images(dataset: str, num_examples: int | None, image_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Training inputs (N, C, H, W), each channel less its mean over its standard deviation, and labels.

    The constants are the authors' for MNIST, CIFAR and ImageNet, else computed over the whole training set. The mixture of Gaussians stays as it is.

    Raises:
        InvalidInput: no labelled images; a mixture or ImageNet without num_examples.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if dataset in (MIXTURE, "imagenet") and num_examples is None:
        raise InvalidInput(f"{dataset} needs num_examples: how many to compute, or to hold in memory.")
    if dataset == MIXTURE:
        x, y = gaussian_mixture(num_examples)
        return x.to(device), y.to(device)
    data = load_dataset("imagenet", num_examples=num_examples, image_size=image_size) if dataset == "imagenet" else load_dataset(dataset)
    if not isinstance(data.x, Tensor) or data.x.dim() != 4 or data.y is None:
        raise InvalidInput(f"trajectories need labelled images, {dataset!r} has none. Use fashion_mnist_small, mnist, cifar10, ...")
    if dataset in CHANNELS:
        mean, std = (torch.tensor(values)[:, None, None] for values in CHANNELS[dataset])
    else:
        mean, std = data.x.mean((0, 2, 3))[:, None, None], data.x.transpose(0, 1).flatten(1).std(1)[:, None, None]
    if num_examples is not None and dataset != "imagenet":
        data = load_dataset(dataset, num_examples=num_examples, seed=0)
    return ((data.x - mean) / std).to(device), data.y.to(device)


def problem(config: Trajectory) -> tuple[nn.Module, Loss, Tensor, Tensor]:
    """Model, loss, inputs and labels of a trajectory.

    Raises:
        InvalidInput: what the data set, the corruption, the duplicates and the model refuse.
    """
    x, y = images(config.dataset, config.num_examples, stored_size(config))
    num_classes = 1000 if config.dataset == "imagenet" else int(y.max()) + 1
    if config.corrupt_share:
        y, _ = corrupt_labels(
            y,
            config.corrupt_share,
            num_classes=num_classes,
            rows=config.corrupt_rows,
            generator=stream_generator(config.seed, "corrupted labels"),
        )
    if config.duplicate_originals * config.duplicate_copies:
        rows = append_copies(
            len(x),
            originals=config.duplicate_originals,
            copies=config.duplicate_copies,
            generator=stream_generator(config.seed, "duplicates"),
        ).to(x.device)
        x, y = x[rows], y[rows]
    options: dict[str, object] = {}
    if config.model == "mlp":
        options["hidden"] = config.hidden
    if config.model in ("mlp", "simple_cnn", "resnet8", "resnet18", "resnet32"):
        options["batch_norm"] = config.batch_norm
    if config.model == "resnet18" and config.dataset == "imagenet":
        options["stem"] = "imagenet"
    model = build(config.model, seed=config.seed, in_shape=tuple(x.shape[1:]), num_classes=num_classes, device=x.device, **options)
    loss = SmoothedCrossEntropy(config.label_smoothing) if config.label_smoothing else "cross_entropy"
    return model, loss, x, y


def stored_size(config: Trajectory) -> int | None:
    """Side of the images in memory: of those that are cropped at random 256 where they are cropped to 224; None where the data decide."""
    if config.dataset != "imagenet":
        return None
    return round(config.image_size * 256 / 224) if config.augment == "resized_crop_flip" else config.image_size


def augmentation(config: Trajectory) -> Augment | None:
    """The augmentation of a trajectory, for training and estimators.

    Raises:
        NotFound: an unknown name.
    """
    if config.augment not in AUGMENTATIONS:
        raise unknown_name("augmentation", config.augment, AUGMENTATIONS)
    augment = AUGMENTATIONS[config.augment]
    return partial(augment, size=config.image_size) if config.augment == "resized_crop_flip" else augment


def draws(config: Trajectory) -> int:
    """Seed of the batches and the measurements."""
    return config.seed if config.draws_seed is None else config.draws_seed


def rates(config: Trajectory) -> Schedule:
    """The learning rate of each step."""
    return Drops(config.learning_rate, steps=config.drops, factor=config.drop_factor) if config.drops else Constant(config.learning_rate)


def estimator(name: str, config: Trajectory) -> Sampled:
    """The estimator of a name, with the sizes of a trajectory.

    Raises:
        NotFound: an unknown name.
    """
    augment = augmentation(config)
    if name == "sgd":
        return MiniBatch(config.batch_size, augment=augment)
    if name == "sgd2":
        return MiniBatch(2 * config.batch_size, augment=augment)
    if name == "svrg":
        return SVRG(config.batch_size, augment=augment)
    if name == "gc":
        return GradientClustering(
            config.batch_size, centres=config.gc_centres, steps=config.gc_steps, sizes=config.gc_sizes, pass_batch=config.gc_pass_batch,
            biases=config.gc_biases, augment=augment, memory=config.memory,
        )  # fmt: skip
    raise unknown_name("estimator", name, ESTIMATORS)


@run(version=1)
def follow(config: Trajectory) -> Result:
    """One row a measured step.

    Columns: step, epoch, rate (of the step that follows), train_loss, train_accuracy; for each estimator those of `EstimatorVariance`
    (``sgd_average``, ``gc_before_average``, ...); those of `StrongGrowth` where asked for; training_size
    (N, with duplicates) and parameters (d). NaN where something was not due.

    Raises:
        NotFound: an unknown estimator, protocol or augmentation.
        InvalidInput: what the parts refuse.
    """
    if config.protocol not in PROTOCOLS:
        raise unknown_name("protocol", config.protocol, PROTOCOLS)
    estimators = {name: estimator(name, config) for name in config.estimators}
    model, loss, x, y = problem(config)
    generator = stream_generator(draws(config), "batches")
    log = From(config.update_start, config.log_every)
    refresh = From(config.update_start, config.update_every)
    measured = Either(log, refresh)
    probes = [
        (Accuracy(num_examples=config.loss_examples, seed=config.seed), Either(Every(config.loss_every or config.log_every), measured)),
        (
            EstimatorVariance(
                estimators,
                refresh=refresh,
                repeats=config.repeats,
                two_pass=[name for name in config.two_pass if name in estimators],
                rescaled_to=config.rescaled_to,
                seed=draws(config),
                generator=generator if config.protocol == "authors" else None,
            ),  # fmt: skip
            measured,
        ),
    ]
    if config.growth_every:
        growth = StrongGrowth(num_examples=config.growth_examples, seed=config.seed, memory=config.memory)
        probes.append((growth, From(config.update_start, config.growth_every)))
    recorder = Recorder(probes)
    table = record(
        train(
            model, loss, x, y, learning_rate=rates(config), batch_size=config.batch_size, num_steps=config.num_steps, momentum=config.momentum,
            weight_decay=config.weight_decay, seed=draws(config), generator=generator, augment=augmentation(config),
            checkpoint=checkpoint(config), checkpoint_every=CHECKPOINT_EVERY, carry={"recorder": recorder},
        ),
        recorder,
    )  # fmt: skip
    status = table.status.iloc[-1]
    return Result(
        table.drop(columns="status").rename(columns={"learning_rate": "rate"}).assign(training_size=len(x), parameters=dimension(model)),
        status="diverged" if status == "diverged" else "finished",
        diverged_at=int(table.step.iloc[-1]) if status == "diverged" else None,
    )
