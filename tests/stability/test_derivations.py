"""Symbolic residuals are zero, signs are proved, and a wrong formula would leave a residual."""

import pytest
import sympy as sp

from sgdscope.errors import InvalidInput
from sgdscope.stability import critical_sharpness, derivations


@pytest.mark.parametrize(
    "derivation",
    [
        derivations.critical_sharpness_solution,
        derivations.printed_noise_term,
        derivations.full_batch_limit,
        derivations.second_derivative,
        derivations.gradient_variance,
        derivations.mended_gradient_variance,
        derivations.equation_1,
    ],
)
def test_identities(derivation):
    shown = derivation()
    assert shown.nonzero == 0 and all(residual == 0 for residual in shown.residuals)
    assert " = " in shown.latex and shown.statement


def test_eq_1_has_one_residual_a_batch_size():
    assert len(derivations.equation_1(3).residuals) == 3


def test_printed_eq_4_does_not_solve_eq_3():
    printed = derivations.printed_noise_term().steps["Eq. 4 as printed"]
    left = sp.simplify(derivations.equation_3().subs(derivations.lam, printed) - 1)
    assert left != 0
    assert sp.simplify(left.subs(derivations.psi, 1)) == 0  # the slip hides where psi = 1


def test_solution_is_the_numerical_one():
    d = derivations
    values = {d.eta: sp.Rational(1, 10), d.alpha: 2, d.psi: sp.Rational(3, 2), d.examples: 50, d.batch: 5}
    exact = d.critical_sharpness_solution().left.subs(values)
    assert float(exact) == pytest.approx(critical_sharpness(0.1, 50, 5, alpha=2.0, distance=1.5), rel=1e-12)


def test_signs_are_proved():
    for signs in (derivations.fixed_distance_signs(), derivations.crossing_signs()):
        assert signs and all(proved for _, proved in signs.values())


def test_a_wrong_constant_leaves_a_residual():
    right = derivations.second_derivative()
    wrong = derivations.Derivation("mean instead of 2 N mean", "x", right.left, right.right / 8, (sp.expand(right.left - right.right / 8),))
    assert wrong.nonzero == 1


def test_refuses_large_symbolic_cases():
    with pytest.raises(InvalidInput, match="num_examples must be 2 to 6 for symbolic curvatures; 9 came"):
        derivations.equation_1(9)
