"""What to measure at a snapshot of training, and when: one call a step, in `sgdscope.training.train` or in any other loop."""

from sgdscope.probes.covariance import GradientCovariance
from sgdscope.probes.curvature import Sharpness, StabilityMargin
from sgdscope.probes.directions import Alignment, DistanceAlongTop, LossAlongTop
from sgdscope.probes.losses import Accuracy, GradientNorms, LossChange, Predictions
from sgdscope.probes.probe import Probe
from sgdscope.probes.recorder import Recorder, record
from sgdscope.probes.when import At, Every, LogSpaced, Pairs, Reaches

__all__ = [
    "Accuracy",
    "Alignment",
    "At",
    "DistanceAlongTop",
    "Every",
    "GradientCovariance",
    "GradientNorms",
    "LogSpaced",
    "LossAlongTop",
    "LossChange",
    "Pairs",
    "Predictions",
    "Probe",
    "Reaches",
    "Recorder",
    "Sharpness",
    "StabilityMargin",
    "record",
]
