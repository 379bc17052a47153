# ruff: noqa: E501  (tables of cases and messages, one line each)
"""The named losses: closed forms, torch's functions, gradients and Hessians in the outputs, refusals."""

import re
from math import log

import pytest
import torch
import torch.nn.functional as F

from sgdscope.errors import InvalidInput, NotFinite, NotFound
from sgdscope.models.losses import LOSSES, SmoothedCrossEntropy, check_losses, check_targets, losses_of, per_example_loss


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OUTPUTS = {(7, 4): normal(7, 4), (7,): normal(7), (7, 2, 3): normal(7, 2, 3)}
LABELS = torch.tensor([0, 3, 1, 1, 2, 0, 3])


def test_cross_entropy():
    outputs = OUTPUTS[7, 4]
    found = per_example_loss("cross_entropy")(outputs, LABELS)
    torch.testing.assert_close(found, F.cross_entropy(outputs, LABELS, reduction="none"), rtol=0, atol=0)
    torch.testing.assert_close(found, -(outputs.exp() / outputs.exp().sum(1, keepdim=True)).log()[torch.arange(7), LABELS])
    assert float(LOSSES["cross_entropy"](torch.zeros(1, 10), torch.tensor([3]))) == pytest.approx(log(10))  # nats


@pytest.mark.parametrize("shape", OUTPUTS)
def test_squares(shape):
    outputs, y = OUTPUTS[shape], normal(*shape, seed=1)
    squares = (outputs - y).square().reshape(7, -1)
    torch.testing.assert_close(LOSSES["squared_error"](outputs, y), squares.sum(1) / 2)
    torch.testing.assert_close(LOSSES["mse"](outputs, y), torch.stack([F.mse_loss(o, t) for o, t in zip(outputs, y, strict=True)]))
    torch.testing.assert_close(LOSSES["mse"](outputs, y).mean(), F.mse_loss(outputs, y))


@pytest.mark.parametrize("shape", OUTPUTS)
def test_binary_cross_entropy(shape):
    outputs, y = 3 * OUTPUTS[shape], normal(*shape, seed=1).sigmoid()
    found = LOSSES["binary_cross_entropy"](outputs, y)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(outputs, y, reduction="none").reshape(7, -1).sum(1))
    far = torch.tensor([800.0, -800.0], dtype=torch.float64)
    assert LOSSES["binary_cross_entropy"](far, torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist() == [0.0, 0.0]
    assert LOSSES["binary_cross_entropy"](far, torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist() == [800.0, 800.0]


def test_the_hessian_of_half_squares_is_the_identity():
    y = normal(1, 3)
    hessian = torch.autograd.functional.hessian(lambda outputs: LOSSES["squared_error"](outputs, y).sum(), normal(1, 3, seed=1))
    torch.testing.assert_close(hessian.view(3, 3), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_of_its_example_alone(name):
    y = LABELS if name == "cross_entropy" else normal(7, 4, seed=1).sigmoid()
    together = LOSSES[name](OUTPUTS[7, 4], y)
    alone = torch.cat([LOSSES[name](OUTPUTS[7, 4][i : i + 1], y[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(together, alone, rtol=1e-14, atol=0)
    assert torch.equal(losses_of(LOSSES[name], OUTPUTS[7, 4], y, 7), together)


def test_a_function_is_taken_as_it_is():
    assert per_example_loss(normal) is normal
    with pytest.raises(NotFound, match="unknown loss 'mse_loss'. Valid: cross_entropy, squared_error, mse, binary_cross_entropy"):
        per_example_loss("mse_loss")
    with pytest.raises(
        InvalidInput, match=r"loss must be a callable \(outputs, y\) -> \(N,\) losses, or one of cross_entropy, .*; NoneType came"
    ):
        per_example_loss(None)


OUT = OUTPUTS[7, 4]


@pytest.mark.parametrize(
    ("name", "outputs", "y", "message"),
    [
        ("cross_entropy", OUT, LABELS + 1, "labels must lie in 0..3, for the model has 4 outputs; 4 came. Check the labels, or the size"),
        ("cross_entropy", OUT, LABELS - 1, "labels must lie in 0..3, for the model has 4 outputs; -1 came."),
        ("cross_entropy", OUT, LABELS.int(), "cross_entropy takes outputs (N, classes) and labels y (N,) of int64; outputs (7, 4), y (7,) of torch.int32"),
        ("cross_entropy", OUT, LABELS[:, None], "y (7, 1) of torch.int64 came. Pass y.squeeze(1)."),
        ("cross_entropy", OUT, LABELS[:, None].double(), "y (7, 1) of torch.float64 came. Pass y.squeeze(1).long()."),
        ("cross_entropy", OUT, LABELS.double(), "y (7,) of torch.float64 came. Pass y.long(), or a callable."),
        ("cross_entropy", OUT, F.one_hot(LABELS).double(), "y (7, 4) of torch.float64 came. Pass y.argmax(1) if the targets are one-hot"),
        ("cross_entropy", OUTPUTS[7, 2, 3], LABELS, "cross_entropy takes outputs (N, classes) and labels y (N,) of int64; outputs (7, 2, 3)"),
        ("cross_entropy", OUT, {"y": LABELS}, "y dict came"),
        ("cross_entropy", {"logits": OUT}, LABELS, "a named loss takes one tensor of outputs (N, ...); dict came. Pass a callable"),
        ("cross_entropy", OUT[:6], LABELS, "a named loss takes one tensor of outputs (N, ...); (6, 4) of torch.float64 came."),
        ("mse", torch.tensor(1.0), LABELS, "a named loss takes one tensor of outputs (N, ...); a scalar of torch.float32 came."),
        ("mse", OUT, OUT[:, :3], "mse takes targets of the shape and dtype of the outputs, (7, 4) of torch.float64; (7, 3) of torch.float64 came."),
        ("squared_error", OUT, LABELS, "squared_error takes targets of the shape and dtype of the outputs, (7, 4) of torch.float64; (7,) of torch.int64"),
        ("squared_error", OUT[:, :1], OUT[:, 0], "squared_error takes targets of the shape and dtype of the outputs, (7, 1)"),  # would be (7, 7)
        ("binary_cross_entropy", OUT, OUT.float(), "(7, 4) of torch.float64; (7, 4) of torch.float32 came. Reshape or convert y."),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit(name, outputs, y, message):
    for check in (check_targets, losses_of):
        with pytest.raises(InvalidInput, match=re.escape(message)):
            check(LOSSES[name], outputs, y, 7)


def test_what_a_function_takes_is_its_own():
    check_targets(lambda outputs, y: outputs["a"], {"a": OUT}, {"b": LABELS}, 7)


def test_more_targets_than_outputs_may_be_checked_at_once():
    """The outputs of one example with the labels of all."""
    check_targets(LOSSES["cross_entropy"], OUT[:1], LABELS, 1)
    with pytest.raises(InvalidInput, match="labels must lie in 0..2"):
        check_targets(LOSSES["cross_entropy"], OUT[:1, :3], LABELS, 1)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (torch.tensor(1.0), 'loss must return one number per example, shape (3,); a scalar of torch.float32 came. Use reduction="none"'),
        (torch.zeros(3, 1), "loss must return one number per example, shape (3,); (3, 1) of torch.float32 came."),
        (torch.zeros(2), "shape (3,); (2,) of torch.float32 came."),
        (1.0, "shape (3,); float came."),
        (torch.zeros(3, dtype=torch.int64), "losses must be floating-point numbers; torch.int64 came. An accuracy has no gradient."),
    ],
)
@pytest.mark.parametrize("finite", [True, False])
def test_losses_of_another_form(losses, message, finite):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_losses(losses, 3, finite=finite)


def test_losses_that_are_not_finite():
    losses = torch.tensor([1.0, float("nan"), float("inf")], requires_grad=True)
    with pytest.raises(NotFinite, match="losses must be finite; 2 of 3 are NaN or infinite. Has the training diverged?"):
        check_losses(losses, 3)
    assert check_losses(losses, 3, finite=False) is losses
    good = torch.zeros(3, requires_grad=True)
    assert check_losses(good, 3) is good


def test_labels_beyond_the_outputs_inside_a_function():
    mine = lambda outputs, y: F.cross_entropy(outputs, y, reduction="none")  # noqa: E731
    with pytest.raises(
        InvalidInput, match="labels must lie within the outputs of the model; the loss says: Target 4 is out of bounds. Check"
    ):
        losses_of(mine, OUT, LABELS + 1, 7)


@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
def test_smoothed_cross_entropy(smoothing):
    """The weighted sum of log-probabilities, written out; without smoothing the plain loss."""
    outputs = OUTPUTS[7, 4]
    found = SmoothedCrossEntropy(smoothing)(outputs, LABELS)
    weights = (1 - smoothing) * F.one_hot(LABELS, 4) + smoothing / 4
    torch.testing.assert_close(found, -(weights * outputs.log_softmax(1)).sum(1))
    if not smoothing:
        torch.testing.assert_close(found, LOSSES["cross_entropy"](outputs, LABELS), rtol=0, atol=0)
    assert per_example_loss(SmoothedCrossEntropy(smoothing)) == SmoothedCrossEntropy(smoothing)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, True, "0.1"])
def test_a_smoothing_that_is_no_share(smoothing):
    with pytest.raises(InvalidInput, match="smoothing must be a share from 0 to 1"):
        SmoothedCrossEntropy(smoothing)
