"""Screenshots of pages for people to look at: light, dark, phone (light and dark) and print, into build/shots/.

python tests/book/shots.py [FOLDER] [PAGE...]        the book is found as in the tests (SGDSCOPE_HTML); all pages unless some are named
"""

from __future__ import annotations

import sys
from pathlib import Path

from conftest import CHROMIUM_FLAGS, ROOT, Reader, chromium, html_folder, serve, toc_pages

LONGEST = 15_000  # pixels; what is below is cut
VARIANTS = {"light": {}, "dark": {"theme": "dark"}, "phone": {"phone": True}, "phone-dark": {"phone": True, "theme": "dark"}}


def save_shots(html: Path, folder: Path, pages: list[str]) -> list[Path]:
    """Save one picture a page and variant, and one PDF as it would be printed from dark mode; returns the files."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    server, base = serve(html)
    saved = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        reader = Reader(browser, base)
        for name in pages:
            for variant, options in VARIANTS.items():
                if not (html / f"{name}.html").is_file():
                    raise SystemExit(f"there is no page {name!r} in {html}; pages are {', '.join(toc_pages())}.")
                seen = reader.visit(f"{name}.html", **options)
                file = folder / f"{name.replace('/', '-')}.{variant}.png"
                height = min(seen.page.evaluate("() => document.documentElement.scrollHeight"), LONGEST)
                seen.page.set_viewport_size({"width": seen.page.viewport_size["width"], "height": height})
                seen.page.screenshot(path=str(file))
                saved.append(file)
                if variant == "dark":
                    saved.append(file.with_name(f"{name.replace('/', '-')}.print.pdf"))
                    seen.page.pdf(path=str(saved[-1]), format="A4", print_background=True, prefer_css_page_size=True)
                seen.page.context.close()
        browser.close()
    server.shutdown()
    return saved


if __name__ == "__main__":
    built = html_folder()
    if built is None or chromium() is None:
        sys.exit("needs a built book (SGDSCOPE_HTML) and Chromium (CHROMIUM)")
    for picture in save_shots(built, Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "shots", sys.argv[2:] or toc_pages()):
        print(picture)
