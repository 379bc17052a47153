"""The book's sources agree with each other, with the ledger and with the generators. Needs no build and no browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PROSE = sorted(BOOK.glob("*.md")) + sorted((ROOT / "notebooks").glob("*/*.py"))
LEDGER = {claim["id"] for claims in yaml.safe_load((BOOK / "claims.yaml").read_text(encoding="utf-8")).values() for claim in claims}
CSS = (BOOK / "_static" / "sgdscope.css").read_text(encoding="utf-8")


def _bib_keys() -> set[str]:
    return set(re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))


def _cited(file: Path) -> set[str]:
    found = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", file.read_text(encoding="utf-8"))
    return {key.strip() for keys in found for key in keys.split(",")}


def test_every_page_of_the_contents_exists():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    pages = re.findall(r"(?:file|root): (\S+)", contents)
    assert len(pages) == len(set(pages))
    missing = [page for page in pages if not any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".py"))]
    assert missing == []


def test_every_written_page_is_in_the_contents():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    pages = set(re.findall(r"(?:file|root): (\S+)", contents))
    written = {file.relative_to(ROOT).with_suffix("").as_posix() for file in PROSE}
    assert written <= pages


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_claims_named_in_the_prose_are_in_the_ledger(file):
    named = set(re.findall(r"`((?:gv|os|lm|be|sy)-[a-z0-9.-]+)`", file.read_text(encoding="utf-8")))
    assert named <= LEDGER


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_cited_works_are_in_the_bibliography(file):
    assert _cited(file) <= _bib_keys()


def test_the_four_papers_are_cited():
    assert set().union(*(_cited(file) for file in PROSE)) >= {
        "faghri2020study",
        "xie2023overlooked",
        "tian2019luck",
        "jastrzebski2020breakeven",
    }


def test_fragments_that_pages_include_are_generated(tmp_path):
    from sgdscope.pages.stage import fragments

    included = {
        name for file in BOOK.glob("*.md") for name in re.findall(r"\{include\} _generated/(\w+)\.md", file.read_text(encoding="utf-8"))
    }
    assert included
    assert included <= set(fragments("quick", tmp_path))


def test_equations_have_labels_of_their_own():
    labels = [
        label for file in BOOK.glob("*.md") for label in re.findall(r"^\$\$ \(([\w-]+)\)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert labels
    assert len(labels) == len(set(labels))


def test_classes_that_the_library_writes_are_styled():
    written = set()
    for file in (ROOT / "src" / "sgdscope").rglob("*.py"):
        for classes in re.findall(r'class="([^"{}<>]+)"', file.read_text(encoding="utf-8")):
            written |= {name for name in classes.split() if name.startswith("sgd-")}
    assert written
    assert {name for name in written if not re.search(rf"\.{re.escape(name)}(?![\w-])", CSS)} == set()


def test_sources_name_no_other_server_to_load_from():
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//")
    assert [file.name for file in [*BOOK.rglob("*.md"), *BOOK.rglob("*.svg")] if loaded.search(file.read_text(encoding="utf-8"))] == []


def test_citation_file_names_the_four_papers_and_this_version():
    import tomllib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == project["license"]
    assert len(citation["references"]) == 4
