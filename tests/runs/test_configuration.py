"""Keys: golden ones, what leaves them as they are, what changes them, what is refused."""

import hashlib
from dataclasses import dataclass, field, make_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdscope.errors import InvalidInput
from sgdscope.runs.configuration import canonical, check_type, differing, key, same_run


@dataclass(frozen=True)
class Plain:
    seed: int
    rate: float = 0.1
    name: str = "mlp"
    exact: bool = False


@dataclass(frozen=True)
class Rich:
    rates: tuple[float, ...] = (0.1, 0.01)
    shape: tuple[int, int] = (3, 32)
    grid: tuple[tuple[float, ...], ...] = ()
    limit: float | None = None
    steps: int | None = 10
    tags: tuple[str, ...] = field(default_factory=lambda: ("a",))


GOLDEN = [  # a failure here means: all stored runs are lost, also the committed ones
    (Plain(0), "57bbabde70c72cb90611"),
    (Plain(1, rate=0.5, name="lenet", exact=True), "5a75d53fc57afac4669e"),
    (Plain(0, rate=1), "a505459575bda8c5ea3c"),
    (Rich(), "355bc7fd287f61431efe"),
    (Rich(rates=(1, 2.5), shape=(1, 28), limit=3, steps=None), "0d92b83a800a8a2385e8"),
    (Rich(grid=((1, 2), (0.5,)), tags=("x", "ü")), "422ea9a3c25d32b93826"),
]


@pytest.mark.parametrize(("config", "expected"), GOLDEN, ids=repr)
def test_golden_keys(config, expected):
    assert key("break_even.model.simulate", 1, config) == expected


def test_a_key_is_the_hash_of_canonical_json():
    text = '{"config":{"rate":0.5,"seed":3},"function":"f","version":2}'
    assert key("f", 2, Plain(3, rate=0.5)) == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_function_and_version_are_part_of_the_key():
    keys = {key("f", 1, Plain(0)), key("g", 1, Plain(0)), key("f", 2, Plain(0)), key("f", 1, Plain(1))}
    assert len(keys) == 4


def test_a_field_added_with_a_default_keeps_the_key():
    longer = make_dataclass("Plain", [("seed", int), ("rate", float, 0.1), ("momentum", float, 0.9)], frozen=True)
    assert key("f", 1, longer(3, 0.5)) == key("f", 1, Plain(3, 0.5))
    assert key("f", 1, longer(3, 0.5, 0.0)) != key("f", 1, Plain(3, 0.5))


def test_values_that_mean_the_same_have_one_key():
    assert key("f", 1, Plain(0, rate=1)) == key("f", 1, Plain(0, rate=1.0))
    assert key("f", 1, Plain(0, rate=-0.0)) == key("f", 1, Plain(0, rate=0.0))
    assert key("f", 1, Rich(rates=[1, 2])) == key("f", 1, Rich(rates=(1.0, 2.0)))
    assert key("f", 1, Rich(grid=[[1], (2,)])) == key("f", 1, Rich(grid=((1.0,), (2.0,))))
    assert key("f", 1, Rich(rates=[0.1, 0.01])) == key("f", 1, Rich())  # a list equal to the default


def test_true_is_not_one():
    either = make_dataclass("Either", [("value", bool | int, 1)], frozen=True)
    assert key("f", 1, either(True)) != key("f", 1, either(1))


def test_canonical_and_differing():
    assert canonical(Rich(shape=(1, 2))) == {
        "rates": [0.1, 0.01],
        "shape": [1, 2],
        "grid": [],
        "limit": None,
        "steps": 10,
        "tags": ["a"],
    }
    assert differing(Rich(shape=(1, 2), tags=("a",))) == {"shape": [1, 2]}
    assert isinstance(canonical(Plain(0, rate=1))["rate"], float)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Plain(True), r"Plain.seed must be int, got True \(bool\)"),
        (Plain(1.0), r"Plain.seed must be int, got 1.0 \(float\)"),
        (Plain("1"), r"Plain.seed must be int, got '1' \(str\)"),
        (Plain(0, rate=True), r"Plain.rate must be float, got True \(bool\)"),
        (Plain(0, rate=float("nan")), r"Plain.rate is nan: a configuration needs finite numbers"),
        (Plain(0, rate=float("-inf")), r"Plain.rate is -inf: a configuration needs finite numbers"),
        (Plain(0, exact=1), r"Plain.exact must be bool, got 1 \(int\)"),
        (Plain(0, name=None), r"Plain.name must be str, got None"),
        (Rich(shape=(1, 2, 3)), r"Rich.shape must be tuple\[int, int\], got \(1, 2, 3\)"),
        (Rich(rates=(0.1, "x")), r"Rich.rates\[1\] must be float, got 'x'"),
        (Rich(rates=0.1), r"Rich.rates must be tuple\[float, ...\], got 0.1"),
        (Rich(limit="none"), r"Rich.limit must be float \| None, got 'none'"),
        (Rich(limit=float("nan")), r"Rich.limit must be float \| None, got nan"),
    ],
)
def test_values_that_do_not_fit_are_refused(config, message):
    with pytest.raises(InvalidInput, match=message):
        key("f", 1, config)


def test_a_mutable_dataclass_is_refused():
    loose = make_dataclass("Loose", [("seed", int)])
    with pytest.raises(InvalidInput, match=r"must be a frozen dataclass, got .*Loose.*add @dataclass\(frozen=True\)"):
        key("f", 1, loose(0))
    with pytest.raises(InvalidInput, match="must be a frozen dataclass, got <class 'dict'>"):
        check_type(dict)


def test_a_stored_configuration_answers_to_one_that_got_a_field_since():
    stored = canonical(Plain(3, 0.5))
    longer = make_dataclass("Plain", [("seed", int), ("rate", float, 0.1), ("momentum", float, 0.9)], frozen=True)
    assert same_run(longer(3, 0.5), stored)
    assert not same_run(longer(3, 0.5, momentum=0.0), stored)
    assert not same_run(longer(4, 0.5), stored)


def test_a_changed_default_without_a_new_version_is_noticed():
    changed = make_dataclass("Plain", [("seed", int), ("rate", float, 0.2), ("name", str, "mlp"), ("exact", bool, False)], frozen=True)
    assert key("f", 1, changed(0)) == key("f", 1, Plain(0))
    assert not same_run(changed(0), canonical(Plain(0)))


plain = st.builds(Plain, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans())
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
rich = st.builds(
    Rich,
    rates=st.lists(numbers),
    shape=st.tuples(st.integers(), st.integers()),
    grid=st.lists(st.lists(numbers)),
    limit=st.none() | numbers,
    steps=st.none() | st.integers(),
    tags=st.lists(st.text()).map(tuple),
)


@settings(max_examples=60)
@given(plain | rich, plain | rich)
def test_keys_are_equal_exactly_where_canonical_configurations_are(one, other):
    same = type(one) is type(other) and canonical(one) == canonical(other)
    assert (key("f", 1, one) == key("f", 1, other)) == same


@settings(max_examples=40)
@given(rich)
def test_keys_depend_on_nothing_else(config):
    again = Rich(*(tuple(value) if isinstance(value, list) else value for value in canonical(config).values()))
    assert key("f", 1, config) == key("f", 1, again)
    assert same_run(config, canonical(again))
