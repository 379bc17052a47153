"""Links of the built book, read from its files: every internal address and anchor exists, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.browser

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("audio", "src"), ("object", "data")}


class _Reader(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []  # what carries it, address
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        for name in ("href", "src", "data"):
            if name not in values:
                continue
            stylesheet = tag == "link" and values.get("rel", "") in (
                "stylesheet",
                "preload",
                "icon",
                "shortcut icon",
                "preconnect",
                "dns-prefetch",
            )
            if (tag, name) in LOADED or stylesheet:
                self.loaded.append(values[name])
            if name != "data":
                self.links.append((tag, values[name]))

    handle_startendtag = handle_starttag


@cache
def _read(file: Path) -> _Reader:
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader


def _pages(html: Path) -> list[Path]:
    return sorted(file for file in html.rglob("*.html") if "_static" not in file.relative_to(html).parts)


def test_internal_links_and_anchors_exist(html):
    broken = []
    for file in _pages(html):
        for tag, address in _read(file).links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or (not parts.path and not parts.fragment):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            where = f"{file.relative_to(html)}: <{tag}> {address}"
            if not target.is_file():
                broken.append(f"{where}: no such file")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in _read(target).anchors:
                broken.append(f"{where}: no such anchor")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(html):
    remote = [f"{file.relative_to(html)}: {address}" for file in _pages(html) for address in _read(file).loaded if urlsplit(address).netloc]
    assert remote == []


def test_style_sheets_load_nothing_from_elsewhere(html):
    remote = re.compile(r"@import[^;]*//[^;]*;|url\(\s*['\"]?(?:https?:)?//[^)]*\)")
    found = [
        f"{file.name}: {match}"
        for file in html.rglob("*.css")
        for match in remote.findall(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_every_page_of_the_contents_is_built(html, address):
    assert (html / address).is_file()


def test_index_leads_to_the_first_page(html):
    assert "url=book/intro.html" in (html / "index.html").read_text(encoding="utf-8")
