"""Sentences whose numbers come from the run."""

from __future__ import annotations

import math
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

    Args:
        template: Markdown with format fields.
        numbers: by field name; None where the runs behind them are missing, then the sentence says so.
    """
    if numbers is None:
        return Sentence("*The runs behind this sentence are missing at this scale.*")
    return Sentence(template.format(**{name: _Number(value) for name, value in numbers.items()}))


class _Number(float):
    """A float that reads well: a true minus sign, powers of ten as such, and words where it is not finite."""

    def __format__(self, spec: str) -> str:
        if not math.isfinite(self):
            return "no finite number" if math.isnan(self) else "infinity" if self > 0 else "minus infinity"
        digits, _, power = float.__format__(self, spec).partition("e")
        if power:
            return rf"${digits} \times 10^{{{int(power)}}}$"
        return digits.replace("-", "−")
