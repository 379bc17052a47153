"""Evidence of the CIFAR page: tables on which every rule is met, and that each can fail."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
import cifar_cases as cases

from sgdscope.claims import judge
from sgdscope.experiments.gradient_variance import cifar_evidence as evidence
from sgdscope.runs.collect import Sources

FOUND = {
    "gv-fig-3b": lambda: evidence.four_estimators(cases.plain()),
    "gv-fig-3c": lambda: evidence.many_classes(cases.many()),
    "gv-fig-6": lambda: evidence.noisy_labels(cases.plain(), cases.smoothed(), cases.corrupted()),
    "gv-lr": lambda: evidence.learning_rates(cases.plain(), cases.constant()),
    "gv-err-fig-6": lambda: evidence.redrawn_and_smoothed(
        cases.plain(), cases.smoothed(), cases.corrupted(), cases.others(), cases.redrawn()
    ),
    "gv-fluctuation": lambda: evidence.inside_and_outside(cases.states(), cases.plain(), cases.few(), cases.second()),
}


@pytest.mark.parametrize("claim", FOUND)
def test_all_parts_can_be_met(claim, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_SCALE", "quick")
    verdict = judge(claim, FOUND[claim](), note="an argument")
    assert verdict.verdict == "reproduced", [(part.name, part.value, part.interval) for part in verdict.parts if not part.met]


def parts(found):
    return {name: part.value for name, part in found.parts.items()}


def test_parts_can_fail():
    """The opposite of each curve."""
    table = cases.plain()
    down = table.assign(sgd_average=1e-3 * np.exp(-table.step / 50), sgd2_average=1e-3 * np.exp(-table.step / 50) / 2)
    down = down.assign(
        gc_average=down.sgd_average * 0.3, gc_before_average=np.nan, svrg_average=1e-3 / (1 + table.svrg_age), svrg_before_average=np.nan
    )
    down = down.assign(sgd_normalised=1.5 - table.step / 1000, sgd_guarded=1.2)
    found = parts(evidence.four_estimators(down))
    for name in ("rise", "rise_normalised", "jump", "jump_normalised", "gc_above_sg2b", "svrg_grows"):
        assert found[name] < 0, name
    assert abs(found["gc_rises"]) < 1e-9 and abs(found["gc_falls_back"]) < 1e-9 and found["svrg_monotone"] > 0.5
    assert found["below_one"] == found["below_one_guarded"] == len(table) and found["order"] == pytest.approx(1e-3 * np.exp(-4.1), rel=0.2)
    swapped = parts(evidence.noisy_labels(cases.corrupted(), cases.smoothed(), cases.plain().assign(corrupt_share=0.1)))
    assert (
        swapped["smoothing_lessens"] > 0
        and swapped["corruption_lessens"] > 0
        and swapped["corruption_removes"] > 0.1
        and swapped["gain"] > 0
    )


def test_values():
    found = parts(FOUND["gv-fig-6"]())
    assert found["plain_fluctuates"] == pytest.approx(1) and found["smoothing_lessens"] == pytest.approx(-0.5)
    assert found["gain"] == pytest.approx(np.log(6 / 7))
    found = parts(FOUND["gv-err-fig-6"]())
    assert found["smoothing_works"] == pytest.approx(np.log(5 / 4) - np.log(1.01)) and found["really_changed"] == pytest.approx(0.18)
    found = parts(FOUND["gv-lr"]())
    assert found["drop"] == pytest.approx(0.4) and found["rises"] == pytest.approx(180 / 500)
    found = parts(FOUND["gv-fluctuation"]())
    assert found["oscillates"] == pytest.approx(0.11 - 0.6) and found["mislabelled"] == pytest.approx(0.81 - 0.09)
    assert found["mislabelling_drives"] == pytest.approx(0.2)
    found = parts(FOUND["gv-fig-3c"]())
    assert found["overlaps"] == pytest.approx(1, abs=0.01) and found["after_drops"] == pytest.approx(0.4) and found["small"] < 0


def test_stand_ins_are_labelled():
    assert FOUND["gv-fig-3b"]().data == "resnet8 on cifar10"
    assert evidence.data_of(cases.plain().assign(model="fcn")) == "fcn on cifar10 (stand-in for resnet8 on cifar10)"
    assert evidence.many_classes(cases.plain()).data == "resnet8 on cifar10 (stand-in for resnet18 on imagenet)"


def test_nothing_is_judged_where_runs_are_missing():
    table = cases.plain()
    table.attrs["sources"] = Sources(expected=3, missing=1)
    assert evidence.four_estimators(table).not_run == "1 of 3 runs are missing"


def test_diverged_runs_leave_their_seed_out():
    table = cases.plain()
    table = table[(table.seed != 1) | (table.step <= 20)].reset_index(drop=True)
    found = evidence.four_estimators(table)
    assert found.parts["jump"].seeds == 2 and found.parts["gc_below_sgb"].seeds == 3
