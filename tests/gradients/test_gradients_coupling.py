"""What couples examples is found on a few of them; what was found out is found out again when the model has changed."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from twins import Steps, cross_entropy, loop, normal, seeded

from sgdscope.errors import InvalidInput
from sgdscope.gradients import PerExampleGradients, gradient_history
from sgdscope.gradients.checks import CHECKED, spread
from sgdscope.gradients.once import MOST, _known

of = PerExampleGradients.of


def classes(number, order="in turn"):
    each = torch.arange(number)
    return {
        "in turn": each % 5,
        "sorted": each * 5 // number,
        "at random": torch.randperm(number, generator=torch.Generator().manual_seed(0)) % 5,
    }[order]


def balanced(outputs, y):
    """Each class has the same weight in a batch, whatever its size."""
    return cross_entropy(outputs, y) / (y[:, None] == y).sum(1)


def contrasted(outputs, y):
    """Only examples of other classes matter."""
    other = (y[:, None] != y).to(outputs.dtype)
    return cross_entropy(outputs, y) + (other * (outputs @ outputs.T)).sum(1)


def ranked(outputs, y):
    return cross_entropy(outputs, y) * (1 + outputs[:, 0].argsort().argsort())


@pytest.mark.parametrize("order", ["in turn", "sorted", "at random"])
@pytest.mark.parametrize("loss", [balanced, contrasted, ranked])
@pytest.mark.parametrize("number", [7, 60, 3001])
def test_losses_that_couple_some_examples(loss, number, order):
    model = seeded(lambda: nn.Linear(10, 5))
    with pytest.raises(InvalidInput, match="each loss must depend on its own example only"):
        of(model, loss, normal(number, 10), classes(number, order))


def test_a_few_examples_first_do_not_hide_it():
    """Four examples of four classes show nothing of a loss that couples a class."""
    model, x, y = seeded(lambda: nn.Linear(10, 5)), normal(60, 10), classes(60)
    assert of(model, balanced, x[:4], y[:4]).shape == (4, 55)
    with pytest.raises(InvalidInput, match="each loss must depend on its own example only"):
        of(model, balanced, x, y)


@pytest.mark.parametrize("number", [1, 2, 8, 9, 10, 60, 999, 1001, 5000])
@pytest.mark.parametrize("order", ["in turn", "sorted", "at random"])
def test_the_examples_that_are_compared(number, order):
    y = classes(number, order)
    few = spread(y, number)
    assert few.tolist() == sorted(set(few.tolist())) and len(few) <= CHECKED
    assert few[0] == 0 and few[-1] == number - 1 and torch.equal(few, spread(y, number))
    if number <= CHECKED:
        assert len(few) == number
    else:
        kinds, counts = y[few].unique(return_counts=True)
        assert len(kinds) > 1 and counts.max() > 1


@pytest.mark.parametrize(
    "y",
    [
        F.one_hot(classes(60)).double(),
        {"weights": normal(60), "labels": classes(60)},
        normal(60, 3),
        {"spans": classes(60)[:, None].expand(60, 2)},
    ],
    ids=["one-hot", "labels after weights", "no two alike", "pairs"],
)
def test_targets_of_other_forms(y):
    few = spread(y, 60)
    labels = classes(60)[few]
    assert 4 < len(few) <= CHECKED and len(labels.unique()) < len(few)


def test_a_plain_value_that_changes_the_forward_pass():
    """A stage of training, as an attribute of a module: functional use of a weight begins behind the back of its layer."""

    def forward(self, x):
        hidden = self.a(x)
        return self.b(F.linear(hidden, self.a.weight.T) if self.stage else hidden)

    model = seeded(lambda: Steps(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    x, y = normal(20, 4), classes(20) % 4
    model.stage = False
    torch.testing.assert_close(of(model, cross_entropy, x, y).dense(), loop(model, cross_entropy, x, y))
    model.stage = True
    with pytest.raises(InvalidInput, match=r"parameter 'a.weight' must be used only by calling"):
        of(model, cross_entropy, x, y)


def test_what_is_kept_of_a_model_that_counts_its_calls():
    def forward(self, x):
        self.calls += 1
        return self.a(x)

    model = seeded(lambda: Steps(forward, a=nn.Linear(4, 4)))
    model.calls = 0
    for _ in range(MOST):
        of(model, cross_entropy, normal(3, 4), classes(3))
    assert len(_known[model]) <= MOST


class Lists(nn.Module):
    """Parameters in a list inside a list of modules, and in a dict, used by the modules around them."""

    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterDict({"in": torch.ones(4), "out": torch.ones(3)})
        self.stages = nn.ModuleList([nn.ParameterList([torch.eye(4), torch.ones(4)]) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = x * self.scales["in"]
        for weight, bias in self.stages:
            x = (x @ weight + bias).tanh()
        return self.head(x) * self.scales["out"]


def test_lists_and_dicts_of_parameters():
    model, x, y = seeded(lambda: nn.Sequential(nn.Linear(5, 4), Lists())), normal(20, 5), classes(20) % 3
    found, expected = of(model, cross_entropy, x, y), loop(model, cross_entropy, x, y)
    assert found.shape == (20, sum(p.numel() for p in model.parameters()))
    torch.testing.assert_close(found.dense(), expected)
    torch.testing.assert_close(found.gram(), expected @ expected.T)


def test_a_loss_without_a_hash():
    class Loss:
        __hash__ = None

        def __call__(self, outputs, y):
            return cross_entropy(outputs, y)

    model, x, y = seeded(lambda: nn.Linear(4, 5)), normal(12, 4), classes(12)
    torch.testing.assert_close(of(model, Loss(), x, y).dense(), loop(model, cross_entropy, x, y))


def test_a_history_without_gradient_mode():
    model, x, y = seeded(lambda: nn.Linear(4, 5)), normal(12, 4), classes(12)
    rows = partial(gradient_history, model, cross_entropy, x, y, batch_size=3, num_draws=4, method="batches")
    expected = rows(generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = rows(generator=torch.Generator().manual_seed(0))
    assert torch.equal(found, expected) and not found.requires_grad
