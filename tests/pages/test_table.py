"""Parameters as readers of a page see them."""

import shlex

import pytest

from sgdscope.pages.parameters import from_texts, parse
from sgdscope.pages.table import example, parameters_markdown

CELL = """dataset = "digits"  # images, <b> & more
learning_rates = [0.1, 0.5, 1.0]  # times the sharpness
num_steps = 3  # of SGD
"""


class Toy:
    """A page as far as its table needs one."""

    name = "toy/01_works"

    def __init__(self, cell=CELL):
        self.parameters = parse(cell, where=self.name)


def test_the_table_shows_the_values_in_force():
    text = parameters_markdown(Toy(), {"dataset": "mnist", "learning_rates": [0.1, 0.5, 1.0], "num_steps": 5})
    assert "<td>0.1, 0.5, 1.0</td><td>times the sharpness</td>" in text
    assert '<td>mnist <span class="sgd-detail">(quick: digits)</span></td><td>images, &lt;b&gt; &amp; more</td>' in text
    assert '<td>5 <span class="sgd-detail">(quick: 3)</span></td>' in text
    assert text.count("```") == 4 and text.endswith(f"```bash\n{example(Toy())}\n```")


@pytest.mark.parametrize(
    ("cell", "name", "value"),
    [(CELL, "learning_rates", [0.1, 0.5]), ('name = "it\'s"  # odd', "name", "it's"), ("seeds = [1]  # one", "seeds", [1])],
)
def test_the_command_is_one_that_works(cell, name, value):
    page = Toy(cell)
    words = shlex.split(example(page))
    assert words[:4] == ["sgdscope", "execute", "toy/01_works", "-p"]
    assert from_texts({words[4]: words[5]}, page.parameters, page=page.name) == {name: value}
