"""Spectra at a point of a trajectory: covariance of gradients by the Gram matrix, Hessian by Lanczos, projections on their top directions."""

from sgdscope.spectra.covariance import CovarianceSpectrum, covariance_eigenpairs, covariance_spectrum
from sgdscope.spectra.eigensolver import Eigenpairs, extreme_eigenpairs
from sgdscope.spectra.gram import gram_matrix
from sgdscope.spectra.hessian import hessian_eigenpairs
from sgdscope.spectra.hessian_operator import HessianOperator, hessian_vector_product
from sgdscope.spectra.projection import projected_norm_ratio

__all__ = [
    "CovarianceSpectrum",
    "Eigenpairs",
    "HessianOperator",
    "covariance_eigenpairs",
    "covariance_spectrum",
    "extreme_eigenpairs",
    "gram_matrix",
    "hessian_eigenpairs",
    "hessian_vector_product",
    "projected_norm_ratio",
]
