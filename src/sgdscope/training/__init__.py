"""Training as a generator of snapshots: SGD, learning rates, batches, augmentation, evaluation, checkpoints."""

from sgdscope.training.augmentation import random_crop_and_flip
from sgdscope.training.batches import Batches
from sgdscope.training.checkpoint import CheckpointError
from sgdscope.training.evaluation import Evaluation, evaluate, measuring, predictions
from sgdscope.training.gradient import loss_and_gradient, mean_gradient
from sgdscope.training.loop import train
from sgdscope.training.readouts import Readouts
from sgdscope.training.resized_crops import random_resized_crop_and_flip
from sgdscope.training.run import When, due
from sgdscope.training.schedules import Constant, Cosine, Drops, Warmup
from sgdscope.training.sgd import SGD
from sgdscope.training.snapshot import Snapshot

__all__ = [
    "SGD",
    "Batches",
    "CheckpointError",
    "Constant",
    "Cosine",
    "Drops",
    "Evaluation",
    "Readouts",
    "Snapshot",
    "Warmup",
    "When",
    "due",
    "evaluate",
    "loss_and_gradient",
    "mean_gradient",
    "measuring",
    "predictions",
    "random_crop_and_flip",
    "random_resized_crop_and_flip",
    "train",
]
