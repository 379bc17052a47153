# ruff: noqa: E501  (tables of cases and messages, one line each)
"""Tensors and nested dicts of examples: cutting, counting, calling, checks."""

import re

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.examples import call, check_examples, check_versions, device_of, leaves, num_examples, take, versions

X = {"tokens": torch.arange(12).view(4, 3), "more": {"features": torch.rand(4, 2), "lengths": torch.tensor([3, 1, 2, 3])}}


def test_leaves_in_order_with_their_names():
    assert [name for name, _ in leaves(X)] == ["x['tokens']", "x['more']['features']", "x['more']['lengths']"]
    assert [tensor is X["tokens"] for _, tensor in leaves(X)] == [True, False, False]
    assert [name for name, _ in leaves(X["tokens"], "y")] == ["y"]
    with pytest.raises(InvalidInput, match=r"x\['a'\] must be a tensor or a \(nested\) dict of tensors; list came. Convert it to tensors."):
        list(leaves({"a": [1, 2]}))


def test_slices_are_views_and_indices_copies():
    part = take(X, slice(1, 3))
    assert part["tokens"].tolist() == [[3, 4, 5], [6, 7, 8]] and part["more"]["lengths"].tolist() == [1, 2]
    assert part["tokens"].data_ptr() == X["tokens"][1].data_ptr()
    index = torch.tensor([3, 0, 3])
    part = take(X, index)
    assert torch.equal(part["more"]["features"], X["more"]["features"][index]) and torch.equal(part["tokens"], X["tokens"][index])
    part["tokens"].zero_()
    assert X["tokens"].sum() == 66


def test_the_number_of_examples():
    assert num_examples(X) == 4 and num_examples(X, torch.zeros(4)) == 4 and num_examples(torch.zeros(3)) == 3
    assert device_of(X) == torch.device("cpu")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({}, None, "x must hold at least one tensor; an empty dict came."),
        (torch.tensor(3.0), None, "examples lie along the first axis of each tensor; x has none. Pass shape (N, ...)."),
        (X, torch.tensor(3.0), "examples lie along the first axis of each tensor; y has none."),
        (torch.zeros(0, 3), None, "x must hold at least one example; 0 came (empty data). Check the subset that was selected."),
        ({"a": torch.zeros(3), "b": torch.zeros(2)}, None, "the same number of examples; x['a']: 3, x['b']: 2 came."),
        (X, {"labels": torch.zeros(5)}, "x['more']['lengths']: 4, y['labels']: 5 came. Cut them to the same examples."),
        (X, [1, 2, 3, 4], "y must be a tensor or a (nested) dict of tensors; list came."),
    ],
)
def test_refused_numbers(x, y, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        num_examples(x, y)


def test_a_dict_is_keywords():
    model = nn.Module()
    model.forward = lambda a, b: a - 2 * b["c"]
    assert call(model, {"b": {"c": torch.tensor([1.0])}, "a": torch.tensor([5.0])}).tolist() == [3.0]
    assert call(nn.ReLU(), torch.tensor([-1.0])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(3, 2), torch.ones(4, 3, dtype=torch.int64)),
        (nn.Conv2d(1, 1, 2), torch.ones(4, 1, 3, 3, dtype=torch.uint8)),
        (nn.LayerNorm(3), torch.ones(4, 3, dtype=torch.int64)),
        (nn.LSTM(3, 2), torch.ones(4, 1, 3, dtype=torch.int64)),
        (nn.BatchNorm1d(3), torch.ones(4, 3, dtype=torch.int64)),
    ],
)
def test_integers_that_the_model_does_not_take(model, x):
    message = rf"x must have the dtype that the model takes; x is {x.dtype} and the model fails: .* Convert integers with x.float\(\) \(token ids belong"
    with pytest.raises(InvalidInput, match=message):
        call(model, x)


@pytest.mark.parametrize(
    ("x", "came", "theirs"),
    [
        (torch.zeros(4, 5), r"x \(4, 5\) of torch.float32", r"shapes cannot be multiplied"),
        (torch.zeros(4, 3).double(), r"x \(4, 3\) of torch.float64", "same dtype"),
    ],
)
def test_inputs_that_do_not_fit(x, came, theirs):
    """The model's own error is in the message, and its cause."""
    message = f"x must have the shape and dtype that the model takes, whose parameters are of torch.float32; {came} came and the model fails: .*{theirs}"
    with pytest.raises(InvalidInput, match=message) as caught:
        call(nn.Linear(3, 2), x)
    assert type(caught.value.__cause__) is RuntimeError


def test_other_errors_of_a_model_are_its_own():
    class Broken(nn.Module):
        def forward(self, x):
            raise self.error

    model = Broken()
    for model.error in (
        RuntimeError("no luck"),
        ValueError("no luck"),
        torch.OutOfMemoryError("of this size"),
        InvalidInput("of this size"),
    ):
        with pytest.raises(type(model.error), match="^(no luck|of this size)$"):
            call(model, torch.zeros(1))
    with pytest.raises(IndexError):
        call(nn.Embedding(3, 2), torch.tensor([5]))


def test_examples_that_fit():
    assert check_examples(nn.Linear(3, 2), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)) == 4
    assert check_examples(nn.Embedding(12, 2), X, {}) == 4


@pytest.mark.parametrize(
    ("model", "x", "y", "message"),
    [
        (nn.Linear(3, 2), torch.zeros(4, 3), torch.zeros(3), "the same number of examples; x: 4, y: 3 came."),
        (nn.Linear(3, 2).double(), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), "parameters, buffers, x and y must have one floating dtype; weight of torch.float64, x of torch.float32 came. Convert them with .to(dtype)."),
        (nn.Linear(3, 2), torch.zeros(4, 3), torch.zeros(4).double(), "weight of torch.float32, y of torch.float64 came."),
        (nn.Linear(3, 2).to("meta"), torch.zeros(4, 3), torch.zeros(4), "must have one device; weight on meta, x on cpu came. Move them with .to(device)."),
        (nn.Linear(3, 2), torch.zeros(4, 3, dtype=torch.complex64), torch.zeros(4), "x must be real; torch.complex64 came. Pass real and imaginary parts as two channels."),
        (nn.Linear(3, 2), torch.tensor([[0.0, float("nan"), float("inf")], [0.0, 0.0, 0.0]]), torch.zeros(2), "x must be finite; 1 of 2 examples hold NaN or infinite values. Drop or mend them."),
        (nn.Linear(3, 2), torch.zeros(2, 3), torch.tensor([float("inf"), float("nan")]), "y must be finite; 2 of 2 examples hold"),
        (nn.Linear(3, 2), {"a": torch.zeros(2), "b": torch.full((2, 1, 1), float("nan"))}, torch.zeros(2), "x['b'] must be finite; 2 of 2"),
    ],
)  # fmt: skip
def test_examples_that_do_not(model, x, y, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_examples(model, x, y)


def test_a_buffer_of_another_dtype():
    model = nn.BatchNorm1d(3)
    model.running_var = model.running_var.double()
    with pytest.raises(InvalidInput, match="weight of torch.float32, running_var of torch.float64 came"):
        check_examples(model, torch.zeros(4, 3), torch.zeros(4))


def test_writing_is_noticed():
    x, y = {"a": torch.zeros(3), "b": torch.zeros(3)}, torch.zeros(3)
    recorded = versions(x, y)
    check_versions(recorded)
    _ = x["a"] + 1
    check_versions(recorded)
    x["b"][1] = 5.0
    with pytest.raises(
        InvalidInput, match=r"x\['b'\] must stay as it was when the gradients were taken; it was written to since. Pass a clone."
    ):
        check_versions(recorded)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_devices():
    with pytest.raises(InvalidInput, match="must have one device; weight on cuda:0, x on cpu came"):
        check_examples(nn.Linear(3, 2).cuda(), torch.zeros(4, 3), torch.zeros(4))
