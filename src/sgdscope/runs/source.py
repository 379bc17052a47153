"""The source that a run or a page depends on, found by following imports, and its fingerprint."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
WITHOUT_SCIENCE = ("runs", "claims", "figures", "pages", "cli.py", "paths.py", "errors.py")  # cannot change what a run computes


def module_file(module: str) -> Path | None:
    """File of a module of this package (``sgdscope.data.load``), or None if there is none."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    stem = PACKAGE.joinpath(*parts[1:])
    for file in (stem / "__init__.py", stem.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def imported_files(file: Path, source: str | None = None) -> set[Path]:
    """Files of this package that one file imports, anywhere in it, with the packages that hold them."""
    found: set[Path] = set()
    names: list[str] = []
    for node in ast.walk(ast.parse(source if source is not None else file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = file.parent.relative_to(PACKAGE.parent).parts
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    for name in names:
        parts = name.split(".")
        for length in range(2, len(parts) + 1):  # from 2: the package's own __init__ holds only the version
            if target := module_file(".".join(parts[:length])):
                found.add(target)
    return found


def closure(start: Iterable[Path], *, leave_out: tuple[str, ...] = ()) -> list[Path]:
    """All files of this package reachable from ``start`` by imports, sorted; top-level parts in ``leave_out`` are not entered."""
    seen: set[Path] = set()
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file in seen or file.relative_to(PACKAGE).parts[0] in leave_out:
            continue
        seen.add(file)
        waiting += imported_files(file)
    return sorted(seen)


def normalised(source: str) -> str:
    """Source without comments, docstrings and blank lines: edits to those change no fingerprint, on any Python version."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, clean=False):
            first = node.body[0]
            for row in range(first.lineno, first.end_lineno + 1):
                lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


@lru_cache
def fingerprint(module: str) -> str:
    """Fingerprint of the source that a module's runs depend on: the module and all it imports here, less what knows no science."""
    start = module_file(module)
    files = closure([start], leave_out=WITHOUT_SCIENCE) if start else []
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n{normalised(file.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:16]
