"""The style sheet by itself: what it loads, its colours in light, dark and print, and what it may not forget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sgdscope.figures.style import CSS_NAMES

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
CSS = (STATIC / "sgdscope.css").read_text(encoding="utf-8")
SCRIPT = (STATIC / "sgdscope.js").read_text(encoding="utf-8")


def block(start: str, within: str = CSS) -> str:
    """The text between the braces that follow ``start``."""
    at = within.index("{", within.index(start)) + 1
    depth, end = 1, at
    while depth:
        depth += {"{": 1, "}": -1}.get(within[end], 0)
        end += 1
    return within[at : end - 1]


def colours(text: str) -> dict[str, str]:
    """Variables that are colours."""
    found = re.findall(r"(--sgd-[\w-]+):\s*#([0-9a-f]{3}|[0-9a-f]{6});", text)
    return {name: value if len(value) == 6 else "".join(2 * letter for letter in value) for name, value in found}


THEMES = {
    "light": colours(block('html, html[data-theme="light"] {')),
    "dark": colours(block('html[data-theme="dark"] {')),
    "print": colours(block("html, html", block("@media print"))),
}


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(theme: str, one: str, other: str) -> float:
    """Contrast of two variables."""
    bright, dim = sorted((luminance(THEMES[theme][f"--sgd-{name}"]) for name in (one, other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_contrast_is_computed_as_wcag_says():
    THEMES["check"] = {"--sgd-a": "ffffff", "--sgd-b": "000000", "--sgd-c": "767676"}
    assert contrast("check", "a", "b") == pytest.approx(21) and contrast("check", "a", "c") == pytest.approx(4.54, abs=0.01)
    del THEMES["check"]


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("verdict", ["ok", "mid", "bad", "off"])
def test_badges_are_legible(theme, verdict):
    assert contrast(theme, f"{verdict}-ink", f"{verdict}-bg") >= 4.5
    assert contrast(theme, f"{verdict}-ink", "paper") >= 4.5  # marks of the parts of a rule
    assert contrast(theme, f"{verdict}-bar", "paper") >= 2.9  # edge of the card, bar of the scorecard: text says the same


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("ground", ["paper", "surface"])
def test_text_is_legible(theme, ground):
    assert contrast(theme, "ink", ground) >= 12
    assert min(contrast(theme, name, ground) for name in ("muted", "accent")) >= 4.5


@pytest.mark.parametrize("theme", list(THEMES))
def test_marks_of_figures_are_visible(theme):
    named = [name.removeprefix("--sgd-") for name in CSS_NAMES.values()]
    faint = {
        name: round(contrast(theme, name, "paper"), 2)
        for name in named
        if name not in ("grid", "paper") and contrast(theme, name, "paper") < 3
    }
    assert faint == {}


def test_every_colour_has_a_light_a_dark_and_a_printed_value():
    assert set(THEMES["light"]) == set(THEMES["dark"]) == set(THEMES["print"]) >= set(CSS_NAMES.values())


def test_print_is_black_on_white():
    assert THEMES["print"]["--sgd-ink"] == "000000" and THEMES["print"]["--sgd-paper"] == "ffffff"
    assert {name: THEMES["print"][name] for name in CSS_NAMES.values() if re.search(r"-[crb]\d$", name)} == {
        name: THEMES["light"][name] for name in CSS_NAMES.values() if re.search(r"-[crb]\d$", name)
    }


def test_variables_that_are_used_are_defined():
    used = set(re.findall(r"var\((--sgd-[\w-]+)\)", CSS))
    assert used - set(re.findall(r"(--sgd-[\w-]+):", CSS)) == set()


def test_verdicts_differ_in_shape_too():
    rules = re.findall(r"\.sgd-badge\.sgd-(reproduced|partly|not-reproduced|not-run) \{[^}]*--sgd-mark: var\((--sgd-\w+)\)", CSS)
    assert len(rules) == 4 and len({mark for _, mark in rules}) == 4


def test_what_is_loaded_lies_beside_the_style_sheet():
    assert "@import" not in CSS and not re.search(r"(?<!www\.w3\.org)//(?!www\.w3\.org)", re.sub(r"xmlns='[^']+'", "", CSS))
    loaded = [address for address in re.findall(r"url\(['\"]?([^'\")]+)", CSS) if not address.startswith("data:image/svg+xml")]
    assert loaded and [address for address in loaded if not (STATIC / address).is_file()] == []
    letters = sorted(file.name for file in (STATIC / "fonts").iterdir() if file.suffix == ".woff2")
    assert sorted(Path(address).name for address in loaded) == letters
    assert sum((STATIC / "fonts" / name).stat().st_size for name in letters) < 200_000
    assert {file.name for file in (STATIC / "fonts").glob("*.txt")} == {
        f"OFL-{name}.txt" for name in {name.split("-")[0] for name in letters}
    }


def test_the_script_asks_nobody():
    code = re.sub(r"^\s*//.*$", "", SCRIPT, flags=re.MULTILINE)
    assert re.findall(r"https?:|fetch|XMLHttp|import\(|eval|Function\(|localStorage|cookie|innerHTML", code) == []


def test_motion_focus_and_paper_are_thought_of():
    assert "animation-duration" in block("prefers-reduced-motion: reduce")
    assert "outline" in block(":focus-visible")
    printed = block("@media print")
    for part in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".sgd-download", "break-inside: avoid", "print-color-adjust: exact"):
        assert part in printed
