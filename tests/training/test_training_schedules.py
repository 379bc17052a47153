"""Learning rates: closed forms and refusals."""

from math import cos, pi

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.training import Constant, Cosine, Drops, Warmup
from sgdscope.training.schedules import as_schedule


def test_constant():
    assert [Constant(0.2)(step, step / 3) for step in (0, 1, 1000)] == [0.2] * 3


def test_drops_by_steps_are_those_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=0.4)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 6], gamma=0.1)
    ours = Drops(0.4, steps=(3, 5, 6))
    for step in range(9):
        assert ours(step, 0.0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_drops_of_the_papers():
    variance = Drops(0.1, steps=(40_000, 60_000))
    assert [variance(step, 0.0) for step in (0, 39_999, 40_000, 59_999, 60_000)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
    break_even = Drops(0.05, epochs=100)
    assert [break_even(0, epoch) for epoch in (0.0, 99.99, 100.0, 150.0)] == pytest.approx([0.05, 0.05, 0.005, 0.005])
    assert break_even.epochs == (100,)


def test_a_drop_by_epochs_holds_from_the_first_step_of_that_epoch():
    """150 examples, batches of 7: 21 steps a pass."""
    schedule = Drops(1.0, epochs=(1, 2.5), factor=0.5)
    rates = [schedule(step, step / 21) for step in range(64)]
    assert rates == [1.0] * 21 + [0.5] * 32 + [0.25] * 11  # 2.5 * 21 = 52.5


def test_cosine():
    schedule = Cosine(0.8, 10, final=0.2)
    for step in range(11):
        assert schedule(step, 0.0) == pytest.approx(0.2 + 0.6 * (1 + cos(pi * step / 10)) / 2, rel=1e-14)
    assert schedule(0, 0.0) == 0.8 and schedule(5, 0.0) == pytest.approx(0.5) and schedule(10, 0.0) == schedule(25, 0.0) == 0.2
    assert Cosine(0.8, 10)(10, 0.0) == 0.0


def test_warmup_is_a_factor_on_what_follows():
    then = Drops(1.0, steps=(6,))
    rates = [Warmup(4, then)(step, 0.0) for step in range(8)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1])
    assert Warmup(4, 0.4).then == Constant(0.4) and Warmup(4, 0.4)(1, 0.0) == 0.2
    assert Warmup(2, lambda step, epoch: 10.0 + epoch)(0, 3.0) == 6.5


def test_numbers_and_functions_become_schedules():
    def mine(step, epoch):
        return 0.1

    assert as_schedule(0.1) == Constant(0.1) and as_schedule(1) == Constant(1) and as_schedule(mine) is mine


def test_schedules_are_values():
    assert Drops(0.1, steps=[1, 2]) == Drops(0.1, steps=(1, 2)) and hash(Cosine(0.1, 5)) == hash(Cosine(0.1, 5))
    with pytest.raises(AttributeError):
        Constant(0.1).rate = 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (lambda bad=bad: as_schedule(bad), "rate must be a positive finite number")
            for bad in (0.0, -0.1, float("nan"), float("inf"), "0.1", True, None)
        ),
        (lambda: Drops(0.1), r"give the drops as steps or as epochs, one of them; got steps \(\) and epochs \(\)"),
        (lambda: Drops(0.1, steps=(1,), epochs=(1,)), "give the drops as steps or as epochs, one of them"),
        (lambda: Drops(0.1, steps=(5, 3)), r"steps must be increasing, finite and not negative, got \(5, 3\)"),
        (lambda: Drops(0.1, steps=(3, 3)), "steps must be increasing"),
        (lambda: Drops(0.1, epochs=(-1,)), "epochs must be increasing, finite and not negative"),
        (lambda: Drops(0.1, epochs=(float("nan"),)), "epochs must be increasing, finite and not negative"),
        (lambda: Drops(0.1, steps=(1,), factor=0.0), "factor must be a positive finite number, got 0.0"),
        (lambda: Cosine(0.1, 0), "num_steps must be a positive finite number, got 0"),
        (lambda: Cosine(0.1, 10, final=float("nan")), "final must be finite and not negative, got nan"),
        (lambda: Cosine(0.1, 10, final=-0.1), "final must be finite and not negative"),
        (lambda: Warmup(-1, 0.1), "num_steps must be a positive finite number, got -1"),
        (lambda: Warmup(5, -0.1), "rate must be a positive finite number, got -0.1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
