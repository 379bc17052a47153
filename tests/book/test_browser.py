"""The built book in a browser: nothing broken, nothing from elsewhere, legible in light and dark and on a phone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
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


# On paper, with keys, by hand


@pytest.fixture
def model(reader):
    """The page with figures and cards, open in dark mode."""
    seen = reader.visit("notebooks/break_even/01_model.html", theme="dark")
    yield seen.page
    seen.page.context.close()


def colour(page, selector, what="color"):
    """A computed colour as numbers."""
    return [int(part) for part in re.findall(r"\d+", page.eval_on_selector(selector, f"node => getComputedStyle(node).{what}"))[:3]]


def test_print_is_black_on_white_from_dark_mode(model):
    model.emulate_media(media="print")
    assert colour(model, "article section section p") == [0, 0, 0]
    assert colour(model, "body", "backgroundColor") == [255, 255, 255]
    assert max(colour(model, ".sgd-claim .sgd-badge")) < 140  # dark text on a light badge
    assert max(colour(model, "article .highlight pre span")) == 0
    for hidden in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".sgd-download", "details.hide", ".prev-next-footer"):
        assert not model.locator(hidden).first.is_visible(), hidden
    assert model.evaluate("checks.faint()") == []


def test_a_printed_page_fits_its_paper(model):
    model.emulate_media(media="print")
    model.set_viewport_size({"width": 665, "height": 1000})  # A4 less its margins, at 96 dpi
    wide = model.eval_on_selector_all(
        "article svg, article table, article pre, article p",
        "nodes => nodes.filter(node => node.checkVisibility() && node.getBoundingClientRect().right > 667).map(node => node.outerHTML.slice(0, 80))",
    )
    assert wide == []


def test_links_that_have_the_focus_show_it(model):
    for _ in range(4):
        model.keyboard.press("Tab")
    style = model.evaluate(
        "() => { const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth] }"
    )
    assert style[0] == "solid" and float(style[1].removesuffix("px")) >= 2


def test_letters_of_figures_stay_readable_on_a_phone(reader):
    seen = reader.visit("notebooks/break_even/01_model.html", phone=True)
    scales = seen.page.eval_on_selector_all(
        ".sgd-drawing svg", "drawings => drawings.map(node => node.getBoundingClientRect().width / node.getAttribute('width'))"
    )
    seen.page.context.close()
    assert scales and min(scales) >= 0.7  # of 12 pixels and more


def test_a_figure_can_be_saved_as_a_picture(model, tmp_path):
    with model.expect_download() as download:
        model.locator(".sgd-figure .sgd-download a", has_text="Picture (SVG)").first.click()
    assert download.value.suggested_filename == "phase-diagram.svg"
    download.value.save_as(tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text


def test_the_order_under_a_figure(model):
    """Drawing, caption, links, code."""
    tops = model.evaluate(
        "() => { const cell = document.querySelector('div.cell:has(#fig-phase-diagram)');"
        " return ['.sgd-drawing', 'figcaption', '.sgd-download', 'details'].map(part => cell.querySelector(part).getBoundingClientRect().top) }"
    )
    assert tops == sorted(tops) and len(set(tops)) == 4


def test_margin_notes_stand_beside_the_text(model, reader):
    note, text = (model.locator(part).first.bounding_box() for part in ("aside.margin", "aside.margin + p"))
    assert note["x"] >= text["x"] + text["width"]
    phone = reader.visit("notebooks/break_even/01_model.html", phone=True).page
    note, text = (phone.locator(part).first.bounding_box() for part in ("aside.margin", "aside.margin + p"))
    phone.context.close()
    assert note["y"] + note["height"] <= text["y"] and note["width"] > 250


def test_the_scorecard_can_be_filtered(reader):
    seen = reader.visit("book/scorecard.html")
    page = seen.page
    rows = page.locator("table.sgd-scorecard tbody tr")
    page.get_by_role("searchbox", name="Search claims").fill("be-thm-1")
    assert [row for row in rows.all() if row.is_visible()][0].get_attribute("id") == "score-be-thm-1"
    assert page.locator(".sgd-filter [role=status]").inner_text() == f"1 of {rows.count()} claims"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="no page yet").click()
    shown = {row.get_attribute("data-verdict") for row in rows.all() if row.is_visible()}
    seen.page.context.close()
    assert shown == {"missing"}


def test_the_first_screen_says_what_this_is(reader):
    """Title, what the book is, the sketches and where to go, without scrolling."""
    seen = reader.visit("book/intro.html")
    bottoms = [seen.page.locator(part).first.bounding_box() for part in ("article h1", ".sgd-lede", ".sgd-sketches", ".sgd-actions")]
    seen.page.context.close()
    assert all(box["y"] + box["height"] <= 900 for box in bottoms)
