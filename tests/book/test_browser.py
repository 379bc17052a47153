"""The built book in a browser: nothing broken, nothing from elsewhere, legible in light and dark and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser

VARIANTS = {"light": {}, "dark": {"theme": "dark"}, "phone": {"phone": True}}
_known: dict[tuple[str, str], dict[str, Any]] = {}


@pytest.fixture
def facts(reader) -> Callable[[str, str], dict[str, Any]]:
    """What is to know of a page in one variant. Each is opened once, whatever the number of tests that ask."""

    def look(address: str, variant: str = "light") -> dict[str, Any]:
        if (address, variant) not in _known:
            seen = reader.visit(address, **VARIANTS[variant])
            evaluate = seen.page.evaluate
            _known[address, variant] = {
                "theme": evaluate("() => document.documentElement.dataset.theme"),
                "ground": evaluate("() => getComputedStyle(document.body).backgroundColor"),
                "equations": seen.page.locator("mjx-container").count(),
                "badges": evaluate("() => [...new Set([...document.querySelectorAll('.sgd-badge')].map(badge => badge.className))]"),
                "unlabelled": evaluate("checks.unlabelled()"),
                "placeholders": evaluate("checks.placeholders()"),
                "raw mathematics": evaluate("checks.rawMathematics()"),
                "wide": evaluate("checks.wide()"),
                "low contrast": evaluate("checks.faint()"),
                "errors": seen.errors,
                "elsewhere": seen.elsewhere,
            }
            seen.page.context.close()
        return _known[address, variant]

    return look


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_breaks_and_nothing_comes_from_elsewhere(facts, address, variant):
    page = facts(address, variant)
    assert page["elsewhere"] == [], f"{address} asks other servers"
    assert page["errors"] == [], f"{address} reports errors"


def test_pictures_have_a_description(facts, address):
    assert facts(address)["unlabelled"] == []


def test_no_placeholder_is_left(facts, address):
    assert facts(address)["placeholders"] == []


def test_mathematics_is_typeset(facts, address):
    assert facts(address)["raw mathematics"] == []


def test_pages_with_equations_have_some(facts):
    assert facts("book/break_even.html")["equations"] > 10


def test_no_sideways_scrolling_on_a_phone(facts, address):
    assert facts(address, "phone")["wide"] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_text_and_badges_are_legible(facts, address, variant):
    page = facts(address, variant)
    assert page["theme"] == ("dark" if variant == "dark" else "light")
    assert page["low contrast"] == []


def test_every_kind_of_badge_was_looked_at(facts):
    for variant in ("light", "dark"):
        assert set(facts("book/how_to_read.html", variant)["badges"]) >= {
            f"sgd-badge sgd-{verdict}" for verdict in ("reproduced", "partly", "not-reproduced", "not-run")
        }


def test_dark_mode_is_dark(facts):
    ground = facts("book/intro.html", "dark")["ground"]
    assert max(int(part) for part in re.findall(r"\d+", ground)[:3]) < 60


def test_the_contrast_check_sees_faint_text(reader):
    seen = reader.visit("book/intro.html")
    seen.page.evaluate("() => { document.querySelector('article p').style.opacity = 0.5 }")
    assert seen.page.evaluate("checks.faint('article p')") != []
    seen.page.context.close()


def test_search_finds_the_page(reader):
    seen = reader.visit("search.html?q=break-even")
    seen.page.wait_for_selector("ul.search li a", timeout=15_000)
    addresses = seen.page.eval_on_selector_all("ul.search li a", "links => links.map(link => link.href)")
    seen.page.context.close()
    assert any("book/break_even.html" in found for found in addresses), addresses
    assert seen.errors == []
    assert seen.elsewhere == []
