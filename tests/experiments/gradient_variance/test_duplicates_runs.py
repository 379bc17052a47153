"""Runs of the page on duplicates: the split of clusters against its definition, the same clusters as along the trajectory, keys, refusals."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from sgdscope.errors import InvalidInput
from sgdscope.experiments.gradient_variance import duplicates, random_features
from sgdscope.experiments.gradient_variance import duplicates_runs as runs
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory, follow, problem
from sgdscope.gradients import PerExampleGradients
from sgdscope.runs import run_of
from sgdscope.training import train

NOTEBOOKS = Path(__file__).parents[3] / "notebooks" / "gradient_variance"
BASE = Trajectory(
    101, "digits", hidden=(12,), num_examples=60, batch_size=8, num_steps=12, update_start=2, update_every=6, log_every=6, gc_steps=2,
    repeats=3, estimators=("sgd", "gc"), two_pass=(), duplicate_originals=2, duplicate_copies=15,
)  # fmt: skip
SMALL = runs.clustered_of(BASE, (2, 6, 12))


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))


def test_split_by_its_definition():
    """Six distinct examples; 0 and 1 are copied. Clusters: copies of 0; copies of 1 with 2; copies of 0 and 1; the rest."""
    g = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.tensor([0, 0, 0, 1, 1, 2, 0, 1, 3, 4, 5])
    partition = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 4, 4, 4])  # cluster 3 is empty
    found = runs.split(g @ g.T, rows, partition)
    terms = {k: (partition == k).sum() ** 2 * g[rows[partition == k]].var(0, correction=0).sum() / len(rows) ** 2 for k in (0, 1, 2, 4)}
    assert (found["clusters"], found["pure"], found["mixed"]) == (4, 1, 2)
    assert found["apart"] == pytest.approx(3 / 7) and found["together"] == pytest.approx((3 + 2) / 7)
    assert found["total"] == pytest.approx(float(sum(terms.values()))) and terms[0] < 1e-30
    assert found["of_mixed"] == pytest.approx(float(terms[1] + terms[2]))


def test_the_clusters_are_those_of_the_trajectory():
    """Appended and inspected at its updates; the exact variances are those of the covariance of all N gradients."""
    table, along = runs.clusters(SMALL).table, follow(BASE).table
    appended = table[table.order == "appended"].reset_index(drop=True)
    at = along[along.gc_objective.notna()].reset_index(drop=True)
    assert appended.step.tolist() == at.step.tolist() == [2, 6, 12]
    assert appended.clusters.tolist() == at.gc_clusters.tolist()
    assert (table.gc_mixed <= table.gc_exact * (1 + 1e-12)).all() and (table.distinct == 60).all() and (table.training_size == 90).all()
    model, loss, x, y = problem(BASE)
    for snapshot in train(model, loss, x, y, learning_rate=0.02, batch_size=8, num_steps=12, momentum=0.5, weight_decay=5e-4, seed=101):
        last = snapshot
    gradients = PerExampleGradients.of(last.model, loss, x, y).dense().double()
    exact = float(gradients.var(0, correction=1).mean()) / 8 * (1 - 8 / 90)
    assert appended.sgd_exact.iloc[-1] == pytest.approx(exact, rel=1e-4)


def test_same_bits_and_divergence():
    pd.testing.assert_frame_equal(runs.clusters(SMALL).table, runs.clusters(SMALL).table, check_exact=True)
    gone = runs.clusters(replace(SMALL, learning_rate=1e25, inspected=(12,)))
    assert gone.status == "diverged" and gone.diverged_at <= 3 and gone.table.empty


def test_golden_key():
    """Fails where a default changed: raise the run's version, then write it down here. All stored runs are lost then, the committed too."""
    golden = runs.Clustered(3, inspected=(10,))
    run = run_of(golden)
    assert (run.name, run.version, run.key(golden)) == ("gradient_variance.duplicates_runs.clusters", 1, "253a3fe1bff3860702ac")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duplicate_copies": 0}, r"with exact copies: duplicates and augment='none'; 2 x 0 and 'none' came"),
        ({"augment": "crop_flip", "gc_centres": "rank1"}, r"2 x 15 and 'crop_flip' came"),
        ({"inspected": ()}, r"inspected must be steps that ascend up to num_steps, 12; \[\] came"),
        ({"inspected": (6, 2)}, r"ascend up to num_steps"),
        ({"inspected": (13,)}, r"ascend up to num_steps"),
        ({"duplicate_originals": 8}, r"more clusters than copied examples, or nothing is left for the others; 8 came for 8"),
    ],
)
def test_refusals_of_the_run(changes, message):
    with pytest.raises(InvalidInput, match=message):
        runs.clusters(replace(SMALL, **changes))


def parameters(page, scale):
    return yaml.safe_load((NOTEBOOKS / f"{page}.{scale}.yaml").read_text())


def paper():
    return duplicates.runs(**parameters("06_duplicates", "paper"), model_hidden=[100])


def test_students_without_copies_are_those_of_the_page_on_over_parametrisation():
    sweep = random_features.runs(**parameters("05_random_features", "paper"))["sweep"]
    ours = {config for config in paper()["features"] if config.share == 0}
    assert ours == {config for config in sweep if config.learning_rate == 0.01} and len(ours) == 108


def test_four_trajectories_a_seed():
    made = paper()
    seeds = parameters("06_duplicates", "paper")["image_seeds"]
    kinds = [(True, "none"), (True, "crop_flip"), (False, "none"), (False, "crop_flip")]
    assert [(c.seed, c.duplicate_copies > 0, c.augment) for c in made["images"]] == [(seed, *kind) for seed in seeds for kind in kinds]
    assert [(c.seed, c.inspected, c.duplicate_copies) for c in made["clusters"]] == [(seed, (100, 500, 1000, 1500), 1000) for seed in seeds]
    assert len(duplicates.configurations(**parameters("06_duplicates", "paper"), model_hidden=[100])) == 432 + 81 + 5 * len(seeds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": [0.1, 0.5]}, r"shares must be distinct, from 0 to below 1, with 0 and at least one other; got \[0\.1, 0\.5\]"),
        ({"shares": [0.0]}, r"at least one other"),
        ({"overparametrisations": [1.0, 1.0]}, r"overparametrisations must be distinct positive numbers"),
        ({"seeds": [-1]}, r"seeds must be distinct and not negative"),
        ({"copies": 0}, r"there must be copies, of fewer images than there are clusters; 10 images, 0 copies and 128 clusters came"),
        ({"update_start": 1501}, r"update_start must be a step up to num_steps, 1500; got 1501"),
    ],
)
def test_refusals_of_the_page(changes, message):
    with pytest.raises(InvalidInput, match=message):
        duplicates.runs(**parameters("06_duplicates", "paper") | {"model_hidden": [100]} | changes)
