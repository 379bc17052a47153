"""Stability of SGD along the top direction: break-even theory, exact and simulated; its measurement on models, and where a run crosses."""

from sgdscope.stability.all_directions import Eigenvalue, critical_learning_rate_all_directions, spectral_radius
from sgdscope.stability.almost_sure import almost_sure_exponent, almost_sure_exponent_estimate, two_point_exponent
from sgdscope.stability.batches import all_batches, number_of_batches, random_batches
from sgdscope.stability.covariance import (
    covariance_rank,
    gradient_covariance,
    gradient_covariance_spectrum,
    mean_outer_product,
    smallest_non_zero,
)
from sgdscope.stability.detection import BreakEvenPoint, break_even_point
from sgdscope.stability.directional_curvature import directional_curvature
from sgdscope.stability.early_training import EarlyTraining, equation_3_lhs, reversed_order, simulate_early_training
from sgdscope.stability.enumeration import gradient_noise, gradient_noise_closed_form, second_moment_factor, two_point_curvatures
from sgdscope.stability.least_squares import LeastSquares, SecondMoments, exact_second_moments, second_moment_step
from sgdscope.stability.least_squares_sgd import LeastSquaresRun, simulate_least_squares
from sgdscope.stability.one_dimension import OneDimensionRun, relative_error, simulate_curvatures, simulate_two_point
from sgdscope.stability.theory import (
    critical_learning_rate,
    critical_sharpness,
    stability_lhs,
    stability_margin,
    without_replacement_factor,
)
from sgdscope.stability.tiny_network import Architecture, BreakEvenRun, train_tiny_networks

__all__ = [
    "Architecture",
    "BreakEvenPoint",
    "BreakEvenRun",
    "EarlyTraining",
    "Eigenvalue",
    "LeastSquares",
    "LeastSquaresRun",
    "OneDimensionRun",
    "SecondMoments",
    "all_batches",
    "almost_sure_exponent",
    "almost_sure_exponent_estimate",
    "break_even_point",
    "covariance_rank",
    "critical_learning_rate",
    "critical_learning_rate_all_directions",
    "critical_sharpness",
    "directional_curvature",
    "equation_3_lhs",
    "exact_second_moments",
    "gradient_covariance",
    "gradient_covariance_spectrum",
    "gradient_noise",
    "gradient_noise_closed_form",
    "mean_outer_product",
    "number_of_batches",
    "random_batches",
    "relative_error",
    "reversed_order",
    "second_moment_factor",
    "second_moment_step",
    "simulate_curvatures",
    "simulate_early_training",
    "simulate_least_squares",
    "simulate_two_point",
    "smallest_non_zero",
    "spectral_radius",
    "stability_lhs",
    "stability_margin",
    "train_tiny_networks",
    "two_point_curvatures",
    "two_point_exponent",
    "without_replacement_factor",
]
