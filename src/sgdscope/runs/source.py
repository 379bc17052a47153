"""The source that a run or a page depends on, found by following imports, and its fingerprint."""

from __future__ import annotations

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from sgdscope.errors import InvalidInput

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


def files_of(name: str) -> set[Path]:
    """Files of a dotted name of this package: the packages that hold it, and itself if it is a module."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(2, len(parts) + 1))  # from 2: sgdscope's own __init__ holds only the version
    return {file for prefix in prefixes if (file := module_file(prefix))}


def imported_files(file: Path, source: str | None = None) -> set[Path]:
    """Files of this package whose code one file's imports need, anywhere in it.

    ``from sgdscope.room import name`` needs the module that the room's ``__init__`` takes the name from, and not the rest of the room;
    ``import sgdscope.room`` and ``from sgdscope import room`` need all of it.
    """
    found: set[Path] = set()
    for base, name, _ in _imports(file, source if source is not None else file.read_text(encoding="utf-8")):
        found |= _needed(base, name)
    return found


@lru_cache(maxsize=512)
def _imports(file: Path, source: str) -> tuple[tuple[str, str | None, str], ...]:
    """(module, imported name, name here) of each import, relative ones resolved; the imported name is None for ``import module``."""
    found: list[tuple[str, str | None, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                if PACKAGE not in file.parents:  # relative to somebody else's package
                    continue
                package = file.parent.relative_to(PACKAGE.parent).parts
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            found += [(base, alias.name, alias.asname or alias.name) for alias in node.names]
    return tuple(found)


def _needed(base: str, name: str | None, passed: tuple[str, ...] = ()) -> set[Path]:
    """Files that one import needs; ``passed`` are the rooms that have handed it on."""
    if name is None:
        return files_of(base)
    file = module_file(base)
    if file is None:  # somebody else's
        return set()
    if file.name == "__init__.py" and base not in passed:  # what a room binds comes before a module of the same name
        for origin, there, here in _imports(file, file.read_text(encoding="utf-8")):
            if here == name and there is not None:
                return _needed(origin, there, (*passed, base))
    if module := module_file(f"{base}.{name}"):
        return {module}
    return set() if file == PACKAGE / "__init__.py" else {file}  # sgdscope's own __init__ holds only the version


def closure(start: Iterable[Path], *, leave_out: tuple[str, ...] = ()) -> list[Path]:
    """All files reachable from ``start`` by imports, and the packages that hold them, sorted; parts in ``leave_out`` are not entered."""
    followed = _followed(start, leave_out)
    return sorted(followed | _holders(followed))


def _followed(start: Iterable[Path], leave_out: tuple[str, ...]) -> set[Path]:
    seen: set[Path] = set()
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file in seen or file.relative_to(PACKAGE).parts[0] in leave_out:
            continue
        seen.add(file)
        waiting += imported_files(file)
    return seen


def _holders(files: Iterable[Path]) -> set[Path]:
    """The ``__init__`` files of the packages that hold files: importing those executes them."""
    return {init for file in files for folder in file.parents if PACKAGE in folder.parents and (init := folder / "__init__.py").is_file()}


def normalised(source: str) -> str:
    """Source without comments, docstrings and blank lines: edits to those change no fingerprint, on any Python version."""
    lines = source.split("\n")  # not splitlines: Python counts rows by newlines alone
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    in_text: set[int] = set()  # rows that end within a string: their blanks are its content
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            in_text |= set(range(node.lineno - 1, node.end_lineno - 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, clean=False):
            _cut(lines, node.body[0])
            in_text -= set(range(node.body[0].lineno - 1, node.body[0].end_lineno - 1))
    return "\n".join(line if row in in_text else line.rstrip() for row, line in enumerate(lines) if line.strip() or row in in_text)


def _cut(lines: list[str], node: ast.stmt) -> None:
    """Blank a statement, and nothing else on its lines (its columns count bytes of UTF-8)."""
    first, last = node.lineno - 1, node.end_lineno - 1
    before, after = lines[first].encode()[: node.col_offset].decode(), lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [before + after] + [""] * (last - first)


@lru_cache
def fingerprint(module: str) -> str:
    """Fingerprint of the source that a module's runs depend on: the module and all it imports here, less what knows no science.

    Of a module outside this package: its own file, and what that imports from here.

    Raises:
        InvalidInput: the module has no file (it was typed in), so that nobody could tell when it changes.
    """
    own, start = "", files_of(module)
    if module_file(module) is None:
        if not (name := getattr(sys.modules.get(module), "__file__", None)):
            raise InvalidInput(f"a run of {module} has no source file: define it in a module, so that the store can tell when it changes.")
        own, start = normalised(Path(name).read_text(encoding="utf-8")), imported_files(Path(name))
    followed = _followed(start, WITHOUT_SCIENCE)
    digest = hashlib.sha256(own.encode())
    for file in sorted(followed | _holders(followed)):
        text = file.read_text(encoding="utf-8")
        text = normalised(text) if file in followed else _without_imports(text)
        if text or file in followed:
            digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n{text}\n".encode())
    return digest.hexdigest()[:16]


def _without_imports(source: str) -> str:
    """What a package's ``__init__`` does beside importing and listing names: all that can matter to a module that it only holds."""
    kept = []
    for node in ast.parse(source).body:
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        listing = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (imports or listing or docstring or typing):
            kept.append(ast.unparse(node))
    return "\n".join(kept)
