"""The Python that README and the book's prose show runs as it stands, in a process of its own."""

import re
import subprocess
import sys

import pytest

from sgdscope import paths

FILES = ("README.md", "book/api.md")
BLOCKS = [
    (name, text)
    for name in FILES
    for text in re.findall(
        r"^```python\n(.*?)^```", (paths.repository() / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
]


def test_every_file_shows_some():
    assert {name for name, _ in BLOCKS} == set(FILES)


@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BLOCKS)])
def test_it_runs(name, text, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", text], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\bnan\b|\binf\b", done.stdout)


def test_the_readme_s_program_is_short():
    (program,) = [text for name, text in BLOCKS if name == "README.md" and "PerExampleGradients" in text]
    code = [line for line in program.splitlines() if line.strip()]
    assert len(code) <= 17 and max(map(len, code)) <= 140
    assert program.count("print(") == 2
