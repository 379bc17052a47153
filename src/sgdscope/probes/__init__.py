"""What to measure at a snapshot of training, and when: one call a step, in `sgdscope.training.train` or in any other loop."""

from sgdscope.probes.covariance import GradientCovariance
from sgdscope.probes.curvature import Sharpness, StabilityMargin
from sgdscope.probes.directions import Alignment, DistanceAlongTop, LossAlongTop
from sgdscope.probes.estimators import EstimatorVariance
from sgdscope.probes.growth import StrongGrowth
from sgdscope.probes.losses import Accuracy, GradientNorms, LossChange, Predictions
from sgdscope.probes.probe import Probe
from sgdscope.probes.recorder import Recorder, record
from sgdscope.probes.when import At, Either, Every, From, LogSpaced, Pairs, Reaches

__all__ = [
    "Accuracy",
    "Alignment",
    "At",
    "DistanceAlongTop",
    "Either",
    "EstimatorVariance",
    "Every",
    "From",
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
    "StrongGrowth",
    "record",
]
