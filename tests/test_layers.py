"""Imports go downwards only; what knows no science imports none; and what nothing here may use."""

import ast
import re
from pathlib import Path

import pytest

import sgdscope

PACKAGE = Path(sgdscope.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [  # each imports from the ones below it; rooms on one floor do not import each other
    {"experiments"},
    {"probes"},
    {"training", "estimators", "stability", "students", "trajectories"},
    {"spectra", "tails"},
    {"gradients"},
    {"models"},
    {"data"},
]
SCIENCE = set().union(*FLOORS)
WITHOUT_SCIENCE = {  # room: what else of the package it may import
    "errors": set(),
    "paths": {"errors"},
    "runs": {"errors", "paths"},
    "claims": {"errors", "paths"},
    "figures": {"errors", "paths"},
    "pages": {"errors", "paths", "runs", "claims", "figures"},
}
ROOMS = SCIENCE | set(WITHOUT_SCIENCE) | {"cli"}


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(room):
    if room == "cli":
        return ROOMS
    if room in WITHOUT_SCIENCE:
        return WITHOUT_SCIENCE[room]
    floor = next(i for i, rooms in enumerate(FLOORS) if room in rooms)
    below = set().union(*FLOORS[floor + 1 :], {"errors", "paths"})
    return below | {"runs", "claims", "figures"} if room == "experiments" else below


def imports(tree, file):
    """(line, dotted name) of all imports of this package, anywhere in a file, relative ones resolved."""
    package = file.parent.relative_to(PACKAGE.parent).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "sgdscope")
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            if base[0] == "sgdscope":
                yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def violations(text, file):
    """Imports of a file that go where they may not."""
    room = room_of(file)
    found = []
    for line, name in imports(ast.parse(text), file):
        target = name.split(".")[1] if "." in name else "sgdscope"
        if target in ROOMS and target != room and target not in allowed(room):
            found.append(f"{file.relative_to(PACKAGE)}:{line} imports {name}")
    return found


def test_every_room_has_its_place():
    assert {room_of(file) for file in FILES} - {"__init__"} <= ROOMS


def test_imports_go_downwards():
    assert sum((violations(file.read_text(encoding="utf-8"), file) for file in FILES), []) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data/load.py", "from sgdscope.models import build"),
        ("data/load.py", "from .. import models"),
        ("data/load.py", "def f():\n    import sgdscope.runs.collect"),
        ("stability/theory.py", "from sgdscope import training"),
        ("spectra/gram.py", "from ..tails.fit import fit"),
        ("probes/when.py", "from sgdscope.runs import run"),
        ("runs/run.py", "from sgdscope.data import load_dataset"),
        ("runs/run.py", "from sgdscope.claims import judge"),
        ("claims/judge.py", "from sgdscope.runs import collect"),
        ("figures/show.py", "from sgdscope.stability import stability_lhs"),
        ("pages/page.py", "from sgdscope.experiments.break_even import model"),
        ("experiments/break_even/model.py", "from sgdscope.pages import find"),
        ("experiments/break_even/model.py", "from sgdscope import cli"),
        ("paths.py", "from sgdscope.runs import run"),
        ("errors.py", "from sgdscope import paths"),
    ],
)
def test_the_check_finds(file, text):
    assert violations(text, PACKAGE / file)


FORBIDDEN = {  # attribute or name: why
    "pickle": "no pickle anywhere",
    "dill": "no pickle anywhere",
    "joblib": "no pickle anywhere",
    "torch.load": "unpickles",
    "torch.save": "pickles",
    "pd.read_pickle": "unpickles",
    "yaml.load": "yaml.safe_load",
    "yaml.unsafe_load": "yaml.safe_load",
    "yaml.full_load": "yaml.safe_load",
    "torch.manual_seed": "randomness is a generator or a seed",
    "torch.cuda.manual_seed": "randomness is a generator or a seed",
    "torch.random.manual_seed": "randomness is a generator or a seed",
    "np.random.seed": "randomness is a generator or a seed",
    "numpy.random.seed": "randomness is a generator or a seed",
    "random.seed": "randomness is a generator or a seed",
    "eval": "no code from data",
    "exec": "no code from data",
}


def forbidden(text):
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [".".join(filter(None, (module, alias.name))) for alias in node.names]
            found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] in FORBIDDEN or name in FORBIDDEN]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            pickled = any(
                k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in node.keywords
            )
            if name in FORBIDDEN or pickled:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_nothing_unsafe(file):
    text = file.read_text(encoding="utf-8")
    lines = forbidden(text)
    if room_of(file) == "models":  # default initialisation runs under fork_rng
        lines = [line for line in lines if not ("manual_seed" in line and "fork_rng" in text)]
    assert lines == [], "; ".join(FORBIDDEN.values())


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=yes)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.manual_seed(0)",
        "np.random.seed(0)",
        "def f():\n    random.seed(1)",
        "eval('1')",
    ],
)
def test_the_check_finds_what_is_unsafe(text):
    assert forbidden(text)


def test_the_check_leaves_what_is_safe():
    assert forbidden("import numpy as np\nnp.load('x', allow_pickle=False)\ngenerator.manual_seed(0)\nyaml.safe_load(text)") == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_every_public_module_says_what_it_is(file):
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text and re.search(r"[.?:]", text), f"{file} has no docstring"
