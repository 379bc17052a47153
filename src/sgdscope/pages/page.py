"""The pages of the book: one jupytext notebook each, with its parameters and its parameter sets."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat

from sgdscope import paths
from sgdscope.errors import InvalidInput, unknown_name
from sgdscope.pages import parameters
from sgdscope.pages.parameters import Parameter

SCALES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class Page:
    """One page: ``break_even/01_model`` is ``notebooks/break_even/01_model.py``, computed by ``sgdscope.experiments.break_even.model``."""

    name: str

    @property
    def file(self) -> Path:
        """The notebook's source."""
        return paths.repository() / "notebooks" / f"{self.name}.py"

    @property
    def paper(self) -> str:
        """Short name of its paper."""
        return self.name.split("/")[0]

    @cached_property
    def notebook(self) -> nbformat.NotebookNode:
        """The notebook, not executed."""
        return jupytext.read(self.file)

    @cached_property
    def title(self) -> str:
        """Its first heading."""
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown" and (heading := re.search(r"^# (.+)$", cell.source, flags=re.MULTILINE)):
                return heading.group(1)
        raise InvalidInput(f"{self.file} has no heading.")

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Its parameters with the quick values, from the cell tagged ``parameters``."""
        cells = [cell for cell in self.notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        if len(cells) != 1:
            raise InvalidInput(f"{self.file} needs exactly one cell tagged 'parameters', it has {len(cells)}.")
        return parameters.parse(cells[0].source, where=self.name)

    def values(self, scale: str, overrides: dict[str, str] | None = None) -> dict[str, object]:
        """Values of all parameters at a scale, with overrides given as YAML text.

        Raises:
            NotFound: unknown scale or parameter name; the valid ones are listed.
            InvalidInput: a value of the wrong type.
        """
        if scale not in SCALES:
            raise unknown_name("scale", scale, SCALES)
        chosen = {name: parameter.default for name, parameter in self.parameters.items()}
        if scale != "quick":
            chosen |= parameters.from_file(self.file.with_suffix(f".{scale}.yaml"), self.parameters, page=self.name)
        return chosen | parameters.from_texts(overrides or {}, self.parameters, page=self.name)

    @property
    def claims(self) -> list[str]:
        """Claims that the page judges, in order."""
        source = self.file.read_text(encoding="utf-8")
        return re.findall(r"\bjudge\(\s*[\"']([a-z0-9.-]+)[\"']", source)

    def experiment(self) -> ModuleType:
        """The module that computes it; its ``configurations(**parameters)`` lists the page's runs."""
        paper, section = self.name.split("/")
        return importlib.import_module(f"sgdscope.experiments.{paper}.{re.sub(r'^[0-9]+_', '', section)}")


def all_pages() -> list[Page]:
    """All pages, papers in alphabetical order, sections in theirs."""
    folder = paths.repository() / "notebooks"
    return [Page(file.relative_to(folder).with_suffix("").as_posix()) for file in sorted(folder.glob("*/[0-9][0-9]_*.py"))]


def find(name: str) -> Page:
    """The page of a name.

    Raises:
        NotFound: lists the pages there are.
    """
    pages = {page.name: page for page in all_pages()}
    name = name.removeprefix("notebooks/").removesuffix(".py")
    if name not in pages:
        raise unknown_name("page", name, pages)
    return pages[name]
