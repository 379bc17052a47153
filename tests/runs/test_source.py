"""Fingerprints: what changes them, and what does not. On a small package in place of ours."""

import sys
import types

import pytest

from sgdscope.errors import InvalidInput
from sgdscope.runs import source

FILES = {
    "__init__.py": '__version__ = "1"\n',
    "errors.py": "",
    "data/__init__.py": "from sgdscope.data.load import load\n",
    "data/load.py": "def load():\n    return 1\n",
    "data/unused.py": "x = 1\n",
    "training/__init__.py": "",
    "training/loop.py": "def loop():\n    from ..data import load\n    return load()\n",
    "training/schedule.py": "every = 2\n",
    "runs/__init__.py": "import sgdscope.secret\n",
    "figures/__init__.py": "x = 1\n",
    "claims/__init__.py": "x = 1\n",
    "pages/__init__.py": "x = 1\n",
    "cli.py": "x = 1\n",
    "secret.py": "x = 1\n",
    "experiments/__init__.py": "",
    "experiments/paper/__init__.py": "",
    "experiments/paper/page.py": '''"""What it computes.

Over two paragraphs.
"""

from sgdscope.figures import show
from sgdscope.claims import judge
from sgdscope.runs import run
from sgdscope import errors
from . import helper


class Configuration:
    """Its fields."""

    seed: int  # of the batches


def compute(config):
    """What one run computes."""
    import sgdscope.training.loop as training  # where it is needed

    text = """
    # not a comment

    the end"""
    return training.loop(), text
''',
    "experiments/paper/helper.py": "from ...training import schedule\n",
}
MODULE = "sgdscope.experiments.paper.page"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "sgdscope"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(source, "PACKAGE", folder)
    source.fingerprint.cache_clear()
    yield folder
    source.fingerprint.cache_clear()


def edited(package, name, old, new):
    """The fingerprint after an edit."""
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    source.fingerprint.cache_clear()
    return source.fingerprint(MODULE)


def test_all_imports_are_followed(package):
    """Absolute and relative, at the top and in functions, with the packages that hold the modules."""
    files = source.closure(source.files_of(MODULE), leave_out=source.WITHOUT_SCIENCE)
    assert [file.relative_to(package).as_posix() for file in files] == [
        "data/__init__.py",
        "data/load.py",
        "experiments/__init__.py",
        "experiments/paper/__init__.py",
        "experiments/paper/helper.py",
        "experiments/paper/page.py",
        "training/__init__.py",
        "training/loop.py",
        "training/schedule.py",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/paper/page.py", "# of the batches", "# of everything"),
        ("experiments/paper/page.py", "  # of the batches", ""),
        ("experiments/paper/page.py", '"""What one run computes."""', '"""Something else,\n\n    at length."""'),
        ("experiments/paper/page.py", '"""Its fields."""', '"""Fields."""  # all'),
        ("experiments/paper/page.py", "Over two paragraphs.", "Over\n\n\ntwo  \n paragraphs."),
        ("experiments/paper/page.py", "\n\ndef compute", "\n# and now\n\n\n\ndef compute"),
        ("experiments/paper/helper.py", "from", "# here\nfrom"),
        ("data/unused.py", "1", "2"),
        ("data/__init__.py", "import load", "import load as load"),
        ("data/__init__.py", "import load\n", "import load\nfrom sgdscope.data.unused import x\n\n__all__ = ['load', 'x']\n"),
        ("figures/__init__.py", "1", "2"),
        ("claims/__init__.py", "1", "2"),
        ("pages/__init__.py", "1", "2"),
        ("runs/__init__.py", "secret", "training"),
        ("secret.py", "1", "2"),
        ("cli.py", "1", "2"),
        ("errors.py", "", "x = 1\n"),
        ("__init__.py", "1", "2"),
    ],
)
def test_edits_that_change_no_run(package, name, old, new):
    before = source.fingerprint(MODULE)
    assert edited(package, name, old, new) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("experiments/paper/page.py", "seed: int", "seed: float"),
        ("experiments/paper/page.py", "# not a comment", "# not a comment!"),
        ("experiments/paper/page.py", "# not a comment\n\n", "# not a comment\n"),
        ("experiments/paper/page.py", "# not a comment\n", "# not a comment \n"),
        ("experiments/paper/helper.py", "schedule", "loop"),
        ("experiments/__init__.py", "", "x = 1\n"),
        ("experiments/paper/__init__.py", "", "x = 1\n"),
        ("training/loop.py", "return load()", "return 2 * load()"),
        ("training/schedule.py", "2", "3"),
        ("training/__init__.py", "", "x = 1\n"),
        ("data/__init__.py", "data.load import load", "data.unused import x as load"),
        ("data/load.py", "1", "2"),
    ],
)
def test_edits_that_could_change_a_run(package, name, old, new):
    before = source.fingerprint(MODULE)
    assert edited(package, name, old, new) != before


def test_a_file_moved_within_the_package_counts(package):
    before = source.fingerprint(MODULE)
    (package / "training" / "schedule.py").rename(package / "training" / "schedules.py")
    assert edited(package, "experiments/paper/helper.py", "schedule", "schedules") != before


def test_a_room_imported_as_a_whole_counts_as_a_whole(package):
    """Its attributes may be any."""
    before = source.fingerprint(MODULE)
    whole = edited(package, "training/loop.py", "from ..data import load", "from sgdscope import data")
    assert (
        whole != before
        and edited(package, "data/__init__.py", "import load\n", "import load\nfrom sgdscope.data.unused import x\n") != whole
    )
    assert edited(package, "data/unused.py", "1", "2") != whole


def test_a_name_that_rooms_hand_on_to_each_other_in_a_circle(package):
    (package / "data" / "__init__.py").write_text("from sgdscope.training import load\n")
    (package / "training" / "__init__.py").write_text("from sgdscope.data import load\n")
    source.fingerprint.cache_clear()
    assert source.fingerprint(MODULE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('def f(): "says"; return 1\n', "def f(): ; return 1"),
        ('class E(Exception): """says"""\n', "class E(Exception):"),
        ('def f():\n    """ü"""; x = "#"  # ü\n', '    ; x = "#"'),
        ('x = "a\x0cb"  # c\ny = 1  # d\n', 'x = "a\x0cb"\ny = 1'),
        ("x = f'''\n\n{1}  \n'''\n", "x = f'''\n\n{1}  \n'''"),
        ('x = ("a"  # first\n  "b")\n', 'x = ("a"\n  "b")'),
        ("", ""),
    ],
)
def test_normalised(text, expected):
    assert source.normalised(text).removeprefix("def f():\n") == expected


def test_a_module_of_somebody_else(package, tmp_path, monkeypatch):
    """Its own file counts, and what it imports from here; its relative imports are not ours."""
    file = tmp_path / "mine.py"
    file.write_text("from . import other\nfrom sgdscope.data import load\n")
    module = types.ModuleType("mine")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "mine", module)
    prints = [source.fingerprint("mine")]
    for path, text in ((file, "from sgdscope.data import load as loaded\n"), (package / "data" / "load.py", "load = None\n")):
        path.write_text(text)
        source.fingerprint.cache_clear()
        prints.append(source.fingerprint("mine"))
    assert len(set(prints)) == 3


def test_a_run_that_was_typed_in_is_refused(package, monkeypatch):
    monkeypatch.setitem(sys.modules, "typed", types.ModuleType("typed"))
    with pytest.raises(InvalidInput, match="a run of typed has no source file: define it in a module"):
        source.fingerprint("typed")


def test_the_real_package():
    """What knows no science is never part of a fingerprint."""
    files = source.closure(source.PACKAGE.glob("experiments/*/*.py"), leave_out=source.WITHOUT_SCIENCE)
    parts = {file.relative_to(source.PACKAGE).parts[0] for file in files}
    assert "stability" in parts
    assert not parts & set(source.WITHOUT_SCIENCE)
