"""Sentences whose numbers come from the run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """Markdown as it stands on the page."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def say(template: str, numbers: Mapping[str, float] | None) -> Sentence:
    """A sentence with numbers put in: ``say("up to {rate:.2f} times", {"rate": 0.93})``.

    What Python would write with an ``e`` is written for people: 1.7e+05 as 170,000, and 6.1e-04 and 2e+08 as powers of ten.

    >>> say("{gap:.2g} times, down to {variance:.1e}", {"gap": 173214.0, "variance": 6.1e-4})
    170,000 times, down to $6.1 \\times 10^{-4}$

    Args:
        template: Markdown with format fields; those of numbers that may need a power of ten stand outside formulas.
        numbers: by field name; None where the runs behind them are missing, then the sentence says so.
    """
    if numbers is None:
        return Sentence("*The runs behind this sentence are missing at this scale.*")
    return Sentence(template.format(**{name: _Number(value) for name, value in numbers.items()}))


class _Number(float):
    """A float that reads well: a true minus sign, powers of ten typeset, and words where it is not finite."""

    def __format__(self, spec: str) -> str:
        if not math.isfinite(self):
            return "no finite number" if math.isnan(self) else "infinity" if self > 0 else "minus infinity"
        text = float.__format__(self, spec)
        if match := re.fullmatch(r"([-+]?)(\d+(?:\.\d+)?)e([-+]\d+)", text):
            return _written_out(match[1], match[2], int(match[3]))
        return text.replace("-", "−")


def _written_out(sign: str, mantissa: str, exponent: int) -> str:
    """A number in scientific notation: whole ones below a million with all their digits, others as a power of ten."""
    if 0 <= exponent < 6:
        return sign.replace("-", "−") + f"{float(mantissa) * 10**exponent:,.{max(len(mantissa.partition('.')[2]) - exponent, 0)}f}"
    power = f"10^{{{exponent}}}"
    return f"${sign}{power}$" if mantissa == "1" else rf"${sign}{mantissa} \times {power}$"
