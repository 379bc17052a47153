"""The built book, served on loopback to headless Chromium; and its sources."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}


def toc_pages() -> list[str]:
    """Every page of the table of contents, as its path without suffix."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


def must_run() -> bool:
    """Whether a missing browser or book is a failure instead of a reason to skip."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes") or bool(os.environ.get("SGDSCOPE_REQUIRE_BROWSER"))


def unavailable(reason: str) -> None:
    """Skip, or fail where the checks have to run."""
    if must_run():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def html_folder() -> Path | None:
    """The built book: ``$SGDSCOPE_HTML``, else the quick build, else the smoke build."""
    if given := os.environ.get("SGDSCOPE_HTML"):
        folder = Path(given) if Path(given).is_absolute() else ROOT / given
        return folder if (folder / "book" / "intro.html").is_file() else None
    candidates = [ROOT / "build" / f"{scale}-html" / "_build" / "html" for scale in ("quick", "smoke")]
    return next((folder for folder in candidates if (folder / "book" / "intro.html").is_file()), None)


def chromium() -> str | None:
    """Path of the browser."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def serve(folder: Path) -> tuple[ThreadingHTTPServer, str]:
    """Serve a folder on loopback, on a free port, from a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


@dataclass
class Visit:
    """An open page and what went wrong while it loaded."""

    page: Any
    errors: list[str] = field(default_factory=list)  # console errors, exceptions, failed requests
    elsewhere: list[str] = field(default_factory=list)  # requests to anything but the book's own server


@dataclass
class Reader:
    """Opens pages of the book; nothing but the book's own server can be reached."""

    browser: Any
    base: str

    def visit(self, address: str, *, phone: bool = False, theme: str = "light") -> Visit:
        """Open a page and wait until its mathematics is typeset."""
        context = self.browser.new_context(viewport=PHONE if phone else DESKTOP, color_scheme=theme, reduced_motion="reduce")
        context.add_init_script(
            f"try {{ localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}') }} catch (e) {{}}"
        )
        context.add_init_script(path=Path(__file__).with_name("checks.js"))
        seen = Visit(context.new_page())

        def route(request_route: Any) -> None:
            url = request_route.request.url
            if url.startswith((self.base, "data:", "blob:")):
                request_route.continue_()
            else:
                seen.elsewhere.append(url)
                request_route.abort()

        context.route("**/*", route)
        seen.page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("response", lambda answer: seen.errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        seen.page.goto(self.base + address, wait_until="load")
        seen.page.evaluate(
            "async () => { if (document.querySelector('.math') && window.MathJax?.startup) await MathJax.startup.promise;"
            " await document.fonts.ready }"
        )
        return seen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take an ``address`` run on every page of the table of contents."""
    if "address" in metafunc.fixturenames:
        metafunc.parametrize("address", [f"{page}.html" for page in toc_pages()])


@pytest.fixture(scope="session")
def html() -> Path:
    folder = html_folder()
    if folder is None:
        unavailable("no built book: run `make book`, or name the folder of its html in SGDSCOPE_HTML")
    return folder


@pytest.fixture(scope="session")
def reader(html: Path) -> Iterator[Reader]:
    executable = chromium()
    if executable is None:
        unavailable("no Chromium: install Debian's `chromium`, or name one in CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is not installed: it is in the extra `test`")
    server, base = serve(html)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield Reader(browser, base)
        browser.close()
    server.shutdown()
    server.server_close()
