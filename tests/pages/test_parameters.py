"""Parameters: read from their cell, given as YAML, and refused before anything runs."""

import pytest

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.pages.parameters import from_file, from_texts, listing, parse

CELL = """# The knobs of this page.
dataset = "digits"  # which images, and "#1" of all
learning_rates = [0.1, 0.5]  # in units of the sharpness
batch_sizes = [
    1,
    8,
]  # drawn without replacement
num_steps = 3
decay = -0.5
center = True
names = ["a", "b"]
"""
KNOWN = parse(CELL, where="toy/01_works")


def test_the_cell():
    assert {name: parameter.default for name, parameter in KNOWN.items()} == {
        "dataset": "digits",
        "learning_rates": [0.1, 0.5],
        "batch_sizes": [1, 8],
        "num_steps": 3,
        "decay": -0.5,
        "center": True,
        "names": ["a", "b"],
    }
    assert KNOWN["dataset"].says == 'which images, and "#1" of all' and KNOWN["num_steps"].says == ""
    assert KNOWN["batch_sizes"].says == "drawn without replacement"
    kinds = ["a text", "a list of numbers", "a list of integers", "an integer", "a number", "a truth value", "a list of texts"]
    assert [parameter.kind for parameter in KNOWN.values()] == kinds


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import os", "toy: the parameters cell holds plain assignments only, line 1 is none"),
        ("a = 1\nb: int = 2", "plain assignments only, line 2 is none"),
        ("a = b = 1", "plain assignments only, line 1"),
        ("a, b = 1, 2", "plain assignments only"),
        ("print(1)", "plain assignments only"),
        ("a = range(3)", "toy: the value of a must be a literal"),
        ("a = 1 + x", "the value of a must be a literal"),
        ("a = {[]: 1}", "the value of a must be a literal"),
        ("a = None", "toy: a must be a truth value, number or text, or a list of one of these with something in it; got None"),
        ("a = (1, 2)", r"a must be .*; got \(1, 2\)"),
        ("a = []", r"a must be .* with something in it; got \[\]"),
        ("a = [1, 'x']", r"a must be .*a list of one of these"),
        ("a = [1, 0.5]", r"a must be .*a list of one of these"),
        ("a = {'b': 1}", r"a must be .*; got \{'b': 1\}"),
    ],
)
def test_cells_that_are_refused(cell, message):
    with pytest.raises(InvalidInput, match=message):
        parse(cell, where="toy")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rates", "[1e-3, 0.5]", [0.001, 0.5]),
        ("learning_rates", "[1, 2]", [1.0, 2.0]),
        ("learning_rates", "[.5e2]", [50.0]),
        ("decay", "1e-3", 0.001),
        ("decay", "-2.5E+1", -25.0),
        ("decay", "2", 2.0),
        ("num_steps", "10", 10),
        ("center", "false", False),
        ("dataset", "fashion_mnist_small", "fashion_mnist_small"),
        ("dataset", "'1'", "1"),
        ("names", "[x]", ["x"]),
        ("batch_sizes", "[4, 2, 1]", [4, 2, 1]),
    ],
)
def test_values_from_the_command_line(name, text, value):
    got = from_texts({name: text}, KNOWN, page="toy/01_works")[name]
    assert got == value and type(got) is type(value)
    if isinstance(value, list):
        assert [type(item) for item in got] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("learning_rates", "0.1", r"learning_rates must be a list of numbers, like \[0.1, 0.5\]; got 0.1 \(a number\)"),
        ("learning_rates", "[]", r"learning_rates must be a list of numbers, .*; got \[\] \(an empty list\)"),
        ("learning_rates", "[0.1, fast]", r"got \[0.1, 'fast'\]"),
        ("learning_rates", "[true]", r"got \[True\] \(a list of truth values\)"),
        ("learning_rates", "[.nan]", r"learning_rates must be a list of numbers"),
        ("decay", ".inf", "decay must be a number, like -0.5; got inf"),
        ("num_steps", "true", r"num_steps must be an integer, like 3; got True \(a truth value\)"),
        ("num_steps", "2.5", r"num_steps must be an integer, like 3; got 2.5 \(a number\)"),
        ("num_steps", "", r"num_steps must be an integer, like 3; got None"),
        ("center", "1", r"center must be a truth value, like True; got 1 \(an integer\)"),
        ("dataset", "1", r"dataset must be a text, like 'digits'; got 1 \(an integer\)"),
        ("dataset", "{a: 1}", r"dataset must be a text"),
        ("names", "[a, 1]", r"names must be a list of texts"),
        ("num_steps", "[1", r"cannot read the value of num_steps: '\[1'"),
        ("num_steps", "!!python/object/apply:os.system ['true']", "cannot read the value of num_steps"),
    ],
)
def test_values_of_the_wrong_type_are_refused(name, text, message):
    with pytest.raises(InvalidInput, match=message):
        from_texts({name: text}, KNOWN, page="toy/01_works")


def test_refusals_list_the_parameters():
    with pytest.raises(NotFound, match=r"unknown parameter 'learning_rate'. Did you mean 'learning_rates'\?") as error:
        from_texts({"learning_rate": "0.1"}, KNOWN, page="toy/01_works")
    with pytest.raises(InvalidInput) as other:
        from_texts({"num_steps": "x"}, KNOWN, page="toy/01_works")
    for message in (str(error.value), str(other.value)):
        assert f"toy/01_works takes:\n{listing(KNOWN)}" in message
    assert "  learning_rates  a list of numbers, default [0.1, 0.5]: in units of the sharpness\n" in listing(KNOWN)


def test_parameter_sets(tmp_path):
    file = tmp_path / "01_works.smoke.yaml"
    for text, expected in {"num_steps: 1\nlearning_rates: [1e-2]\n": {"num_steps": 1, "learning_rates": [0.01]}, "# nothing\n": {}}.items():
        file.write_text(text)
        assert from_file(file, KNOWN, page="toy") == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("- 1\n", InvalidInput, "01_works.smoke.yaml must map parameter names to values, it holds list"),
        ("steps: 1\n", NotFound, "unknown parameter 'steps'. Did you mean 'num_steps'"),
        ("num_steps: many\n", InvalidInput, "num_steps must be an integer"),
        ("num_steps: [\n", InvalidInput, "cannot read 01_works.smoke.yaml"),
    ],
)
def test_parameter_sets_that_are_refused(tmp_path, text, error, message):
    file = tmp_path / "01_works.smoke.yaml"
    file.write_text(text)
    with pytest.raises(error, match=message):
        from_file(file, KNOWN, page="toy")


def test_a_lacking_parameter_set(tmp_path):
    (tmp_path / "01_works.smoke.yaml").write_text("")
    with pytest.raises(NotFound, match="unknown parameter set '01_works.paper.yaml'.* Valid: 01_works.smoke.yaml"):
        from_file(tmp_path / "01_works.paper.yaml", KNOWN, page="toy")
