"""The algebra of Sec. 3 and App. B done by sympy: each derivation returns both sides and what is left of their difference.

A residual of 0 is an identity. Nothing here is numerical.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import sympy as sp

from sgdscope.errors import InvalidInput

eta, lam, alpha, psi, examples, batch = sp.symbols("eta lambda_H alpha psi N S", positive=True)
without_replacement = (examples - batch) / ((examples - 1) * batch)


@dataclass(frozen=True)
class Derivation:
    """One identity, or several of one kind, ready to print.

    Attributes:
        statement: what is shown, in words.
        symbol: LaTeX of the quantity.
        left: expression derived.
        right: closed form that it is compared with.
        residuals: simplified differences, all 0 when the identity holds.
        steps: named intermediate expressions, in order.
    """

    statement: str
    symbol: str
    left: sp.Expr
    right: sp.Expr
    residuals: tuple[sp.Expr, ...]
    steps: dict[str, sp.Expr] = field(default_factory=dict)
    general: sp.Expr | None = None  # closed form for any N and S, where `right` is one case of it

    @property
    def nonzero(self) -> int:
        """Number of residuals that are not 0."""
        return sum(residual != 0 for residual in self.residuals)

    @property
    def latex(self) -> str:
        """``symbol = right`` (or the general form) in LaTeX, without dollar signs."""
        return f"{self.symbol} = {sp.latex(self.right if self.general is None else self.general)}"

    def _repr_markdown_(self) -> str:
        """Statement, formula and what is left of the difference, for a page."""
        left = "every difference is exactly 0" if self.nonzero == 0 else f"{self.nonzero} of {len(self.residuals)} differences are not 0"
        return f"{self.statement}:\n\n$$\n{self.latex}\n$$\n\nDerived and compared symbolically; {left}."


def _identity(statement: str, symbol: str, left: sp.Expr, right: sp.Expr, steps: dict[str, sp.Expr] | None = None) -> Derivation:
    return Derivation(statement, symbol, left, right, (sp.simplify(left - right),), steps or {})


def equation_3() -> sp.Expr:
    """Left side of Eq. 3 with ``lambda_K = alpha lambda_H``: ``(1 - eta lambda)^2 + alpha lambda eta^2 (N - S)/(S (N - 1)) / psi^2``."""
    return (1 - eta * lam) ** 2 + alpha * lam / psi**2 * eta**2 * without_replacement


def critical_sharpness_solution() -> Derivation:
    """Eq. 3 with equality, solved for lambda_H: ``2/eta - alpha (N - S) / ((N - 1) S psi^2)``."""
    roots = sp.solve(sp.expand((equation_3() - 1) / lam), lam)  # lambda = 0 is the other root
    if len(roots) != 1:
        raise InvalidInput(f"Eq. 3 must have one root beside zero; sympy found {roots}. Use a tested sympy version.")
    right = 2 / eta - alpha * without_replacement / psi**2
    return _identity("Eq. 3 with equality, solved for the sharpness", r"\lambda_H^*", sp.expand(roots[0]), right, {"Eq. 3": equation_3()})


def printed_noise_term() -> Derivation:
    """The noise term that Eq. 4 prints is ``psi`` times the one that solves Eq. 3."""
    printed = (2 - alpha / psi * (examples - batch) / (examples - 1) * eta / batch) / eta  # Eq. 4 as it stands
    noise_printed = sp.simplify(2 / eta - printed)
    noise_right = sp.simplify(2 / eta - critical_sharpness_solution().left)
    steps = {"Eq. 4 as printed": printed, "its noise term": noise_printed, "the right noise term": noise_right}
    statement = "Noise term printed in Eq. 4 against psi times the right one"
    return _identity(statement, r"\text{printed noise term}", noise_printed, psi * noise_right, steps)


def full_batch_limit() -> Derivation:
    """At S = N the root is ``2 / eta``, whatever alpha and psi are."""
    return _identity("Root of Eq. 3 for the full batch", r"\lambda_H^*", critical_sharpness_solution().right.subs(batch, examples), 2 / eta)


def fixed_distance_signs() -> dict[str, tuple[sp.Expr, bool]]:
    """Derivatives of the root at fixed psi, each with whether sympy proves its sign: ``d/d eta < 0`` and ``d/d S > 0`` for S <= N, N > 1.

    S counts as a real number here; the root depends on it through ``(N - S)/S = N/S - 1`` only.
    """
    root = critical_sharpness_solution().right
    more = sp.symbols("m", positive=True)  # N = 1 + m makes N > 1 visible to sympy
    by_rate = sp.simplify(sp.diff(root, eta))
    by_batch = sp.factor(sp.diff(root, batch))
    return {
        "learning_rate": (by_rate, bool(by_rate.is_negative)),
        "batch_size": (by_batch, bool(sp.simplify(by_batch.subs(examples, 1 + more)).is_positive)),
    }


def crossing_signs() -> dict[str, tuple[sp.Expr, bool]]:
    """Theorems 1 and 2 on a *shared* path ``psi(lambda)`` that falls as lambda rises: the crossing moves as claimed.

    The crossing solves ``F = lambda - 2/eta + alpha c / psi(lambda)^2 = 0`` with ``c = (N - S)/((N - 1) S)``. With ``psi' = -p < 0``,
    ``dF/d lambda = 1 + 2 alpha c p / psi^3 > 0``: F rises along the path, so there is one crossing, the same from either side
    (Theorem 1 walks up the path, Theorem 2 down), and by the implicit function theorem
    ``d lambda*/d eta = -(2/eta^2) / (dF/d lambda) < 0`` and ``d lambda*/d S = (alpha N / ((N - 1) S^2 psi^2)) / (dF/d lambda) > 0``.
    The paper's proof compares psi of two runs at different rates, which needs this path to be common to them.
    """
    slope, more, fewer = sp.symbols("p m n", positive=True)
    path = sp.Function("psi")(lam)
    crossing = lam - critical_sharpness_solution().right.subs(psi, path)
    along = sp.diff(crossing, lam).subs(sp.Derivative(path, lam), -slope).subs(path, psi)
    by_rate = sp.simplify(-sp.diff(crossing, eta).subs(path, psi) / along)
    by_batch = sp.simplify(-sp.diff(crossing, batch).subs(path, psi) / along)
    # S = 1 + n, N = S + m: strictly inside 1 < S < N, where sympy can see every sign.
    inside = {examples: 1 + fewer + more, batch: 1 + fewer}

    def sign(expression: sp.Expr) -> sp.Expr:
        return sp.factor(sp.together(expression.subs(inside, simultaneous=True)))

    return {
        "along_the_path": (along, bool(sign(along).is_positive)),
        "learning_rate": (by_rate, bool(sign(by_rate).is_negative)),
        "batch_size": (by_batch, bool(sign(by_batch).is_positive)),
    }


def second_derivative(num_examples: int = 4) -> Derivation:
    """The printed ``f = sum_i (psi - psi*)^2 H_i`` has second derivative ``2 N mean(H)``, where Eq. 1 uses ``mean(H)``."""
    curvatures, minimum = _curvatures(num_examples), sp.symbols("psi_star", real=True)
    loss = sum((psi - minimum) ** 2 * curvature for curvature in curvatures)
    second = sp.expand(sp.diff(loss, psi, 2))
    found = _identity("Second derivative of the printed f", r"f''(\psi)", second, 2 * num_examples * _mean(curvatures))
    return replace(found, general=2 * examples * sp.Symbol(r"\overline{H}"))


def gradient_variance(num_examples: int = 4) -> Derivation:
    """The printed terms ``(psi - psi*)^2 H_i`` have ``Var[g_i] = 4 (psi - psi*)^2 Var[H_i]``, where App. B uses ``psi^2 Var[H_i]``."""
    curvatures, minimum = _curvatures(num_examples), sp.symbols("psi_star", real=True)
    gradients = [sp.diff((psi - minimum) ** 2 * curvature, psi) for curvature in curvatures]
    right = 4 * (psi - minimum) ** 2 * _variance(curvatures)
    found = _identity("Variance of the gradients of the printed f", r"\mathrm{Var}[g_i]", sp.expand(_variance(gradients)), right)
    return replace(found, general=4 * (psi - sp.Symbol(r"\psi^*")) ** 2 * sp.Symbol(r"\mathrm{Var}[H_i]"))


def mended_gradient_variance(num_examples: int = 4) -> Derivation:
    """With the factor 1/2 and ``psi* = 0`` it is ``psi^2 Var[H_i]``, as App. B needs."""
    curvatures = _curvatures(num_examples)
    gradients = [sp.diff(psi**2 * curvature / 2, psi) for curvature in curvatures]
    statement = "Variance of the gradients once f carries 1/2 and psi* = 0"
    return _identity(statement, r"\mathrm{Var}[g_i]", _variance(gradients), psi**2 * _variance(curvatures))


def equation_1(num_examples: int = 4) -> Derivation:
    """Mean of ``(1 - eta H_B)^2`` over all mini-batches against Eq. 1, for symbolic H_i and every S from 1 to N (one residual each)."""
    if not 2 <= num_examples <= 6:
        raise InvalidInput(f"num_examples must be 2 to 6 for symbolic curvatures; {num_examples} came. Use second_moment_factor above.")
    curvatures = _curvatures(num_examples)
    residuals, left, right = [], sp.Integer(0), sp.Integer(0)
    for size in range(1, num_examples + 1):
        batches = list(combinations(curvatures, size))
        left = sum((1 - eta * sum(chosen) / size) ** 2 for chosen in batches) / len(batches)
        noise = sp.Rational(num_examples - size, size * (num_examples - 1))
        right = (1 - eta * _mean(curvatures)) ** 2 + _variance(curvatures) * eta**2 * noise
        residuals.append(sp.expand(left - right))
    mean, std = sp.symbols("lambda_H s")
    general = (1 - eta * mean) ** 2 + std**2 * eta**2 * (examples - batch) / (batch * (examples - 1))
    statement = f"Eq. 1 for N = {num_examples}, S = 1 to {num_examples}"
    return Derivation(statement, r"E_B (1 - \eta H_B)^2", left, right, tuple(residuals), general=general)


def _curvatures(number: int) -> tuple[sp.Symbol, ...]:
    return sp.symbols(f"H_1:{number + 1}", real=True)


def _mean(values: tuple | list) -> sp.Expr:
    return sum(values) / sp.Integer(len(values))


def _variance(values: tuple | list) -> sp.Expr:
    return _mean([(value - _mean(values)) ** 2 for value in values])
