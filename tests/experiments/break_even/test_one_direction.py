"""Runs in one dimension against plain loops and direct calls."""

import math
from itertools import combinations, product

import pytest
import torch

from sgdscope import stability
from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import one_direction
from sgdscope.experiments.break_even.one_direction import ClosedForm, EarlyTraining, Enumeration, PhaseDiagram, ReversedOrder, StableCase

SMALL = PhaseDiagram(5, 3, num_examples=10, num_rates=4, num_spreads=3, num_steps=3, num_replicas=40, log_steps=12, log_replicas=30)


def left_side(rate, sharpness, spread, examples, batch):
    """Eq. 1 as the paper prints it."""
    return (1 - rate * sharpness) ** 2 + spread**2 * rate**2 * (examples - batch) / (batch * (examples - 1))


def test_enumeration_is_the_loop():
    config = Enumeration(7, num_examples=5)
    table = one_direction.enumerate_batches(config).table
    draw = torch.rand(5, generator=torch.Generator().manual_seed(7), dtype=torch.float64).tolist()
    shapes = {"uniform": draw, "heavy-tailed": [u**-0.7 for u in draw], "indefinite": [u - 0.2 for u in draw]}
    assert sorted(set(zip(table.curvatures, table.batch_size, table.learning_rate, strict=True))) == sorted(
        product(shapes, range(1, 6), [0.1, 0.5, 1.0, 1.7, 2.5, 4.0])
    )
    for row in table.itertuples():
        values = shapes[row.curvatures]
        mean = sum(values) / 5
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 5)
        batches = list(combinations(values, row.batch_size))
        factor = sum((1 - row.learning_rate * sum(batch) / len(batch)) ** 2 for batch in batches) / len(batches)
        assert row.enumerated == pytest.approx(factor, rel=1e-12)
        assert row.left_side == pytest.approx(left_side(row.learning_rate, mean, spread, 5, row.batch_size), rel=1e-12)
        assert row.error == abs(row.enumerated - row.left_side) / row.enumerated
    assert table.error.max() < 1e-12


def test_some_curvatures_are_negative_and_some_large():
    """What the three shapes are for: no sign and no tail is left out."""
    draws = [torch.rand(12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in range(3)]
    assert all((draw - 0.2).min() < 0 and (draw**-0.7).max() > 2 for draw in draws)


def test_the_phase_diagram_is_the_direct_calls():
    table = one_direction.simulate_phase_diagram(SMALL).table
    assert table.learning_rate.tolist() == pytest.approx([0.6] * 3 + [1.2] * 3 + [1.8] * 3 + [2.4] * 3)
    assert table.spread.tolist() == [0, 1, 2] * 4
    for row in table.itertuples():
        cell, setting = (row.learning_rate, 1.0, row.spread), {"num_examples": 10, "seed": 5}
        few = stability.simulate_two_point(*cell, 3, num_steps=3, num_replicas=40, **setting)
        many = stability.simulate_two_point(*cell, 3, num_steps=12, num_replicas=30, **setting)
        assert row.left_side == pytest.approx(left_side(*cell, 10, 3), rel=1e-12)
        assert row.log_second_moment == pytest.approx(float(few.log_second_moment), rel=1e-12)
        assert row.measured_exponent == pytest.approx(float(many.log_growth), rel=1e-12)
        assert row.exponent == pytest.approx(hypergeometric_exponent(row.learning_rate, row.spread, 10, 3), rel=1e-12)


def hypergeometric_exponent(rate, spread, examples, batch):
    """``E log |1 - eta H_B|`` summed over the number of steep examples in the batch."""
    half, total = examples // 2, 0.0
    for steep in range(max(0, batch - half), min(batch, half) + 1):
        share = math.comb(half, steep) * math.comb(half, batch - steep) / math.comb(examples, batch)
        total += share * math.log(abs(1 - rate * (1 + spread * (2 * steep / batch - 1))))
    return total


def test_seeds_and_batch_sizes_draw_their_own_mini_batches():
    tables = [one_direction.simulate_phase_diagram(config).table for config in (SMALL, PhaseDiagram(**{**vars(SMALL), "seed": 6}))]
    noisy = tables[0].spread > 0
    assert (tables[0].log_second_moment != tables[1].log_second_moment)[noisy].all()
    assert (tables[0].left_side == tables[1].left_side).all() and (tables[0].exponent == tables[1].exponent).all()


def test_the_stable_case_is_the_direct_calls_and_the_ledgers_numbers():
    table = one_direction.simulate_stable_case(StableCase(4, num_replicas=300)).table
    assert table.steps.tolist() == [1, 2, 5, 10, 20, 50, 100, 200]
    assert table.left_side.tolist() == pytest.approx([0.7**2 + 0.5**2 * 1.7**2] * 8)  # 1.2125
    assert table.exponent.tolist() == pytest.approx([(math.log(0.15) + math.log(1.55)) / 2] * 8)
    for row in table.itertuples():
        done = stability.simulate_two_point(1.7, 1.0, 0.5, 1, num_examples=100, num_steps=row.steps, num_replicas=300, seed=4)
        assert row.growth == float(done.log_growth) and row.sampled_log_second_moment == float(done.log_second_moment)
        assert row.not_converged == 1 - float(done.share_below)
    assert table.not_converged.iloc[0] == 1 and table.not_converged.iloc[-1] == 0
    assert table.growth.iloc[-1] == pytest.approx(table.exponent.iloc[-1], abs=0.03)


def violations(config, root):
    """Slow twin of the closed-form run: every point by itself, roots from ``root(rate, batch, alpha, distance)``."""
    counts = {"falls with the rate": [0, 0], "rises with the batch size": [0, 0], "full batch": [0, 0]}

    def note(check, held):
        counts[check][0] += 1
        counts[check][1] += not held

    rates, examples = config.learning_rates, config.num_examples
    for alpha, distance in product(config.alphas, config.distances):
        for batch in range(1, examples + 1):
            for lower, higher in zip(rates, rates[1:], strict=False):
                note("falls with the rate", root(higher, batch, alpha, distance) < root(lower, batch, alpha, distance))
        for rate in rates:
            for batch in range(1, examples):
                note("rises with the batch size", root(rate, batch + 1, alpha, distance) > root(rate, batch, alpha, distance))
            note("full batch", abs(root(rate, examples, alpha, distance) * rate / 2 - 1) <= 1e-12)
    return counts


def counted(config):
    table = one_direction.check_closed_form(config).table
    return {row.check: [row.points, row.violations] for row in table.itertuples()}


def test_the_closed_form_is_the_loop():
    config = ClosedForm(num_examples=6, learning_rates=(0.05, 0.2, 1.0), alphas=(0.1, 10.0), distances=(0.3, 3.0))

    def root(rate, batch, alpha, distance):
        return 2 / rate - alpha * (6 - batch) / (5 * batch * distance**2)

    expected = violations(config, root)
    assert counted(config) == expected
    assert [wrong for _, wrong in expected.values()] == [0, 0, 0]


def test_a_wrong_closed_form_is_caught(monkeypatch):
    """The check can fail: with the sign of the noise turned and a floor under the root, it counts what the loop counts."""
    config = ClosedForm(num_examples=6, learning_rates=(0.05, 0.2, 1.0), alphas=(0.1, 10.0), distances=(0.3, 3.0))

    def root(rate, batch, alpha, distance):
        return max(2 / rate + 0.01 + alpha * (6 - batch) / (5 * batch * distance**2), 11.0)

    def wrong(rate, examples, batch, *, alpha, distance):
        return (2 / rate + 0.01 + alpha * (examples - batch) / ((examples - 1) * batch * distance**2)).clamp_min(11.0)

    monkeypatch.setattr(one_direction, "critical_sharpness", wrong)
    expected = violations(config, root)
    assert counted(config) == expected
    assert all(wrong > 0 for _, wrong in expected.values())


def test_the_page_grid_has_no_violation():
    assert one_direction.check_closed_form(ClosedForm()).table.violations.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("start", "sharpness", "distance"), [("stable", 1.0, 1.0), ("unstable", 60.0, 0.05)])
def test_early_training_is_the_direct_calls(start, sharpness, distance):
    table = one_direction.simulate_early_training(EarlyTraining(2, start, (1, 4, 20), 20)).table
    assert list(zip(table.learning_rate, table.batch_size, strict=True)) == list(product([0.05, 0.1, 0.2], [1, 4, 20]))
    for row in table.itertuples():
        done = stability.simulate_early_training(
            row.learning_rate,
            row.batch_size,
            num_examples=20,
            start_sharpness=sharpness,
            start_distance=distance,
            begin=start,
            alpha=0.05,
            seed=2,
        )
        assert (row.crossing_sharpness, row.distance, row.step) == pytest.approx(
            (float(done.sharpness), float(done.distance), float(done.step)), rel=1e-12
        )
    full = table[table.batch_size == 20]
    assert (full.crossing_sharpness * full.learning_rate / 2).tolist() == pytest.approx([1, 1, 1], rel=1e-3)


def test_early_training_knows_two_starts():
    with pytest.raises(KeyError, match="middle"):
        one_direction.simulate_early_training(EarlyTraining(2, "middle", (1,), 20))


def test_reversed_order_is_reversed():
    table = one_direction.simulate_reversed_order(ReversedOrder(3)).table
    done = stability.reversed_order(seed=3)
    assert table.crossing_sharpness.tolist() == done.sharpness.tolist() and table.distance.tolist() == done.distance.tolist()
    slow, fast = table.crossing_sharpness
    assert table.learning_rate.tolist() == [1.0, 1.8] and slow < fast


def test_odd_sets_have_no_equal_halves():
    with pytest.raises(InvalidInput, match="num_examples must be even"):
        one_direction.simulate_phase_diagram(PhaseDiagram(0, 1, num_examples=9))
