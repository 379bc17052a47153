"""Unbiased estimates of the full-batch gradient, and their variance at a snapshot."""

from sgdscope.estimators.clustering import GradientClustering
from sgdscope.estimators.factored import factored_lloyd
from sgdscope.estimators.lloyd import partition_objective, weighted_lloyd
from sgdscope.estimators.mini_batch import MiniBatch
from sgdscope.estimators.partition import Clustering
from sgdscope.estimators.readouts import ReadoutGradients
from sgdscope.estimators.repeated import estimates
from sgdscope.estimators.sampled import Sampled
from sgdscope.estimators.stratified import Stratified
from sgdscope.estimators.svrg import SVRG
from sgdscope.estimators.variance import GradientVariance, gradient_variance, variance_of_estimates

__all__ = [
    "SVRG",
    "Clustering",
    "GradientClustering",
    "GradientVariance",
    "MiniBatch",
    "ReadoutGradients",
    "Sampled",
    "Stratified",
    "estimates",
    "factored_lloyd",
    "gradient_variance",
    "partition_objective",
    "variance_of_estimates",
    "weighted_lloyd",
]
