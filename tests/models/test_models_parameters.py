# ruff: noqa: E501  (tables of cases and messages, one line each)
"""Trainable parameters in order, ties once, flat vectors there and back."""

import pytest
import torch
from torch import nn

from sgdscope.errors import InvalidInput
from sgdscope.models.parameters import dimension, flat, trainable, unflatten


def test_order_is_that_of_the_model_without_frozen_ones():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert list(trainable(model)) == [name for name, _ in model.named_parameters()]
    model[1].requires_grad_(False)
    model[0].bias.requires_grad_(False)
    assert list(trainable(model)) == ["0.weight", "2.weight", "2.bias"] and dimension(model) == 12 + 8 + 2
    assert trainable(model)["2.bias"] is model[2].bias


def test_tied_parameters_count_once_under_their_first_name():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert list(trainable(model)) == ["0.weight", "0.bias", "2.bias"] and dimension(model) == 15


def test_no_trainable_parameters():
    for model, number in ((nn.ReLU(), 0), (nn.Linear(3, 2).requires_grad_(False), 2)):
        with pytest.raises(
            InvalidInput, match=rf"must have trainable parameters; none of its {number} requires a gradient. Call requires_grad_\(\) on"
        ):
            trainable(model)
        with pytest.raises(InvalidInput, match="must have trainable parameters"):
            dimension(model)


def test_flat_and_back():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.PReLU(), nn.Linear(4, 1, bias=False))
    model.scale = nn.Parameter(torch.tensor(2.0))  # no axis
    parameters = list(trainable(model).values())
    vector = flat(parameters)
    assert vector.shape == (dimension(model),) == (33,)
    assert torch.equal(vector, nn.utils.parameters_to_vector(model.parameters()))
    parts = unflatten(vector, parameters)
    assert all(torch.equal(part, parameter) and part.shape == parameter.shape for part, parameter in zip(parts, parameters, strict=True))
    values = torch.arange(33.0)
    parts = unflatten(values, parameters)
    assert torch.equal(flat(parts), values)
    parts[1].fill_(-1.0)  # views
    assert (values == -1).sum() == parts[1].numel()


def test_transposed_tensors_are_read_in_row_order():
    assert flat([torch.arange(6).view(2, 3).T, torch.tensor(9)]).tolist() == [0, 3, 1, 4, 2, 5, 9]


@pytest.mark.parametrize("shape", [(32,), (34,), (33, 1), (1, 33), ()])
def test_vectors_of_another_shape(shape):
    parameters = [torch.zeros(3, 10), torch.zeros(3)]
    with pytest.raises(InvalidInput, match=r"a flat vector must have shape \(33,\), the trainable parameters; .* came"):
        unflatten(torch.zeros(shape), parameters)


def test_gradients_pass_through():
    vector = torch.arange(6.0, requires_grad=True)
    first, second = unflatten(vector, [torch.zeros(2, 2), torch.zeros(2)])
    (first.sum() + 3 * second.sum()).backward()
    assert vector.grad.tolist() == [1, 1, 1, 1, 3, 3]
