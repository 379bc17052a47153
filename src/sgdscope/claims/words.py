"""Numbers and the ledger's plain text as HTML for people: powers of ten, Greek letters, subscripts. All text is escaped."""

from __future__ import annotations

import math
import re
from html import escape

_GREEK = {
    **{name: chr(0x3B1 + i) for i, name in enumerate(("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"))},
    **{"lambda": "λ", "mu": "μ", "rho": "ρ", "sigma": "σ", "phi": "φ", "psi": "ψ", "Sigma": "Σ", "sum": "Σ"},
}
_SIGNS = {"&lt;=": "≤", "&gt;=": "≥", "-&gt;": "→", " - ": " − "}


def number(value: float) -> str:
    """A number for people: three significant digits, powers of ten typeset."""
    if value != value:
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa} × 10<sup>{int(exponent)}</sup>".replace("-", "−")
    return text.replace("-", "−")


def prose(text: str) -> str:
    """The ledger's plain text with its formulas typeset as far as letters go.

    >>> prose("lambda_K^1 < 1e-10")
    'λ<sub>K</sub><sup>1</sup> &lt; 10<sup>−10</sup>'
    """
    text = escape(text, quote=False)
    for plain, sign in _SIGNS.items():
        text = text.replace(plain, sign)
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)e([-+]?\d+)\b", _power_of_ten, text)
    names = "|".join(_GREEK)
    text = re.sub(
        rf"(?<![A-Za-z])({names})(?=_[A-Za-z0-9]{{1,4}}(?![A-Za-z0-9_]))", lambda match: _GREEK[match[1]], text
    )  # sum_k, lambda_K
    text = re.sub(rf"(?<![\w-])({names.removesuffix('|sum')})(?![\w-])", lambda match: _GREEK[match[1]], text)
    text = re.sub(r"(?<![A-Za-z0-9_])([A-Za-zα-ωΣ])_([A-Za-z0-9]{1,4})(?![A-Za-z0-9_])", r"\1<sub>\2</sub>", text)
    return re.sub(r"\^(-?[A-Za-z0-9]+)", lambda match: f"<sup>{match[1].replace('-', '−')}</sup>", text)


def _power_of_ten(match: re.Match[str]) -> str:
    """1e-10 as a power of ten."""
    power = f"10<sup>{int(match[2])}</sup>".replace("-", "−")
    return power if match[1] in ("1", "1.0") else f"{match[1]} × {power}"
