"""Unbiased estimates of the full-batch gradient, and their variance at a snapshot."""

from sgdscope.estimators.mini_batch import MiniBatch
from sgdscope.estimators.repeated import estimates
from sgdscope.estimators.stratified import Stratified
from sgdscope.estimators.svrg import SVRG
from sgdscope.estimators.variance import GradientVariance, gradient_variance

__all__ = ["SVRG", "GradientVariance", "MiniBatch", "Stratified", "estimates", "gradient_variance"]
