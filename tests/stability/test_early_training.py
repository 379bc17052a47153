"""The model of early training: crossings on the line of Eq. 3, order of the theorems, a loop as twin, and where the order fails."""

import pytest
import torch

from sgdscope.errors import InvalidInput
from sgdscope.stability import critical_sharpness, equation_3_lhs, reversed_order, simulate_early_training

RATES = torch.tensor([0.01, 0.03, 0.1], dtype=torch.float64)
BATCHES = torch.tensor([4, 32, 500])
STABLE = {"num_examples": 500, "start_sharpness": 2.0, "start_distance": 3.0, "alpha": 20.0}
UNSTABLE = {"num_examples": 500, "start_sharpness": 400.0, "start_distance": 0.5, "alpha": 20.0, "begin": "unstable"}


def loop(rate, batch, seed, steps, begin, num_examples, start_sharpness, start_distance, alpha):
    """Slow twin: one run, plain floats, straight from Eq. 3 and Assumptions 3 and 4; state before and after the first crossing."""
    draws = 0.04 * torch.rand(steps, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    level, psi = before = start_sharpness, start_distance
    for grow, shrink in draws.tolist():
        noise = alpha * level / psi**2 * rate**2 * (num_examples - batch) / (batch * (num_examples - 1))
        stable = (1 - rate * level) ** 2 + noise <= 1
        if stable != (begin == "stable"):
            return before, (level, psi)
        before = level, psi
        level, psi = (level * (1 + grow), psi * (1 - shrink)) if stable else (level / (1 + grow), psi / (1 - shrink))
    raise AssertionError("no crossing")


@pytest.mark.parametrize("settings", [STABLE, UNSTABLE])
def test_crossings_are_those_of_the_loop(settings):
    run = simulate_early_training(RATES[:, None], BATCHES, seed=3, **settings)
    assert run.not_crossed == 0 and run.sharpness.shape == (3, 3)
    plain = {"begin": "stable"} | settings
    for i, rate in enumerate(RATES.tolist()):
        for j, batch in enumerate(BATCHES.tolist()):
            before, after = loop(rate, batch, 3, 800, **plain)
            low, high = sorted((before[0], after[0]))
            assert low <= float(run.sharpness[i, j]) <= high
            low, high = sorted((before[1], after[1]))
            assert low <= float(run.distance[i, j]) <= high


@pytest.mark.parametrize("settings", [STABLE, UNSTABLE])
@pytest.mark.parametrize("seed", range(5))
def test_order_of_both_theorems_on_a_shared_path(settings, seed):
    sharpness = simulate_early_training(RATES[:, None], BATCHES, seed=seed, **settings).sharpness
    assert (sharpness.diff(dim=0) < 0).all(), "falls with the learning rate"
    assert (sharpness.diff(dim=1) > 0).all(), "rises with the batch size"
    torch.testing.assert_close(sharpness[:, -1], 2 / RATES)


def test_the_crossing_lies_on_the_line():
    run = simulate_early_training(RATES[:, None], BATCHES, seed=1, mean_rate=5e-3, num_steps=3_000, **STABLE)
    root = critical_sharpness(RATES[:, None], 500, BATCHES, alpha=20.0, distance=run.distance)
    torch.testing.assert_close(run.sharpness, root, rtol=1e-3, atol=0)
    left = equation_3_lhs(RATES[:, None], run.sharpness, run.distance, 500, BATCHES, alpha=20.0)
    torch.testing.assert_close(left, torch.ones_like(left), rtol=0, atol=2e-3)


def test_runs_share_their_path_before_the_crossing():
    run = simulate_early_training(RATES, 4, seed=2, **STABLE)
    until = int(run.step.min())
    assert (run.distance_path[:until] == run.distance_path[:until, :1]).all()
    alone = simulate_early_training(RATES[1], 4, seed=2, **STABLE)
    assert float(alone.sharpness) == float(run.sharpness[1])


def test_no_crossing_is_counted():
    run = simulate_early_training(RATES, 500, num_steps=130, **STABLE)
    assert run.not_crossed == int(run.sharpness.isnan().sum()) == 2
    assert not run.sharpness[2].isnan()


def test_the_order_fails_without_a_shared_path():
    for seed in range(5):
        run = reversed_order(seed=seed)
        assert run.not_crossed == 0
        assert run.sharpness[1] > run.sharpness[0], "the larger rate is lost at the larger sharpness"
        assert run.distance[1] > run.distance[0], "because its psi stays larger"
        shared = simulate_early_training([1.0, 1.8], 10, num_examples=1000, start_sharpness=1.0, start_distance=1.0, alpha=0.1, seed=seed)
        assert shared.sharpness[1] < shared.sharpness[0]


def test_reversed_order_obeys_the_assumptions():
    run = reversed_order()
    steps = run.sharpness_path.diff(dim=0)
    moves = run.distance_path.diff(dim=0)
    rates = torch.tensor([1.0, 1.8], dtype=torch.float64)
    left = equation_3_lhs(rates, run.sharpness_path, run.distance_path, 1000, 10, alpha=0.1)[:-1]
    clear = (left - 1).abs() > 1e-9
    assert ((steps > 0) == (left < 1))[clear].all() and ((moves < 0) == (left < 1))[clear].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "alpha must be finite and positive; 0 came"),
        ({"begin": "unstable"}, "every setting must begin unstable; 3 of 3 do not .* Raise the start sharpness"),
        ({"start_sharpness": 1e3}, "every setting must begin stable; 3 of 3 do not .* Lower the start sharpness"),
        ({"begin": "calm"}, r"begin must be one of \('stable', 'unstable'\); 'calm' came"),
        ({"distances": "none"}, r"distances must be one of \('shared', 'sgd'\)"),
        ({"mean_rate": 0.6}, "mean_rate must be below 0.5"),
        ({"num_steps": 0}, "num_steps must be a whole number"),
        ({"num_examples": 3}, "batch_size must be at most num_examples"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InvalidInput, match=message):
        simulate_early_training(RATES, 4, **(STABLE | changes))
