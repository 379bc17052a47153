"""The runs of the CIFAR page: exact variances against all gradients written out, places, keys, the list, and ImageNet's layout end to end."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.experiments.gradient_variance import cifar, cifar_runs
from sgdscope.experiments.gradient_variance.cifar_runs import ClusterStates, Redrawn, States, redraw, states, states_of
from sgdscope.experiments.gradient_variance.fluctuations import places
from sgdscope.experiments.gradient_variance.mixture import gaussian_mixture
from sgdscope.experiments.gradient_variance.trajectory_runs import Trajectory, follow, problem
from sgdscope.gradients import PerExampleGradients
from sgdscope.probes import From
from sgdscope.runs import run_of
from sgdscope.training import Snapshot

SMALL = Trajectory(
    101, "digits", hidden=(12,), num_examples=80, batch_size=8, num_steps=24, drops=(12,), update_start=2, update_every=12, log_every=3,
    gc_steps=2, repeats=60, estimators=("sgd", "gc"), two_pass=(),
)  # fmt: skip


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize("model", ["mlp", "lenet"])
@pytest.mark.parametrize("memory", [4 << 30, 1])
def test_exact_variances_are_those_of_all_gradients(model, memory):
    config = replace(SMALL, model=model, dataset="fashion_mnist_small" if model == "lenet" else "digits", num_examples=40)
    net, loss, x, y = problem(config)
    net, x = net.double(), x.double()
    probe = ClusterStates(cifar_runs.estimator("gc", config), refresh=From(0, 100), batch_size=8, seed=0, memory=memory)
    found = probe.measure(Snapshot(model=net, loss=loss, x=x, y=y, step=0, learning_rate=0.1, batch_size=8))
    g = PerExampleGradients.of(net, loss, x, y).dense()
    count, d = g.shape
    partition = probe.clustering.partition
    within = torch.zeros(count, dtype=torch.float64)
    for cluster in partition.unique():
        members = partition == cluster
        within[members] = int(members.sum()) / count**2 * (g[members] - g[members].mean(0)).square().sum(1) / d
    spread = (g - g.mean(0)).square().sum(1).mean()
    assert found["gc_exact"] == pytest.approx(float(within.sum()), rel=1e-9)
    assert found["sgd_exact"] == pytest.approx(float(spread * (count - 8) / (8 * (count - 1)) / d), rel=1e-9)
    torch.testing.assert_close(found["squares"], g.square().sum(1).float())
    torch.testing.assert_close(found["within"], within.float(), rtol=1e-5, atol=1e-12)


def test_states_are_of_the_trajectory():
    """The sampled variances of the same run agree with the exact ones, at the same steps."""
    exact, sampled = states(states_of(SMALL)), follow(SMALL).table
    sampled = sampled[sampled.gc_average.notna()]
    assert exact.table.step.tolist() == sampled.step.tolist() == [2, 3, 6, 9, 12, 15, 18, 21, 24]
    assert (exact.table.age == 0).tolist() == (sampled.gc_age == 0).tolist()
    assert np.abs(np.log(exact.table.gc_exact.to_numpy() / sampled.gc_average.to_numpy())).mean() < 0.15
    assert np.abs(np.log(exact.table.sgd_exact.to_numpy() / sampled.sgd_average.to_numpy())).mean() < 0.15
    assert exact.status == "finished" and exact.table.top_norms.between(0.01, 1).all() and exact.table.top_variance.between(0.01, 1).all()
    assert (exact.table.place == "inside").sum() == (exact.table.place == "outside").sum() == 1
    pd.testing.assert_frame_equal(states(states_of(SMALL)).table, exact.table, check_exact=True)


def test_states_know_the_redrawn_labels():
    config = replace(SMALL, corrupt_share=0.5, num_steps=6)
    found = states(states_of(config)).table
    assert found.changed.iloc[0] == float((problem(config)[3] != problem(SMALL)[3]).double().mean()) and 0.3 < found.changed.iloc[0] < 0.55
    assert found.top_changed.between(0, 1).all()
    everything = states(states_of(config, top=1.0)).table  # the longest of all are all
    np.testing.assert_allclose(everything[["top_norms", "top_variance"]], 1.0, rtol=1e-5)
    np.testing.assert_allclose(everything.top_changed, everything.changed)


def test_states_that_diverge_and_refuse():
    found = states(states_of(replace(SMALL, learning_rate=1e25, drops=())))
    assert found.status == "diverged" and found.diverged_at <= 3
    with pytest.raises(InvalidInput, match="without duplicates"):
        states(states_of(replace(SMALL, duplicate_originals=2, duplicate_copies=3)))


def test_places():
    """Two intervals of four log points; the third point of the second has the excess, its longest gradients are others."""
    table = pd.DataFrame({"gc_exact": [1, 2, 2, 2, 1, 2, 6, 2.1], "sgd_exact": 4.0, "age": [0, 1, 2, 3, 0, 1, 2, 3]})
    squares = torch.ones(8, 10)
    for row, longest in enumerate(((0, 1), (0, 1), (0, 1), (0, 2), (0, 1), (0, 1), (8, 1), (0, 1))):
        squares[row, list(longest)] = 6.0
    within = torch.ones(8, 10)
    within[6, 8] = 11.0
    mislabelled = torch.zeros(10, dtype=torch.bool)
    mislabelled[8] = True
    found = places(table, squares, within, mislabelled, top=0.2)
    assert found.place.tolist() == ["", "", "", "", "", "outside", "inside", ""]
    inside = found.iloc[6]
    assert inside.excess == pytest.approx(np.log(6 / np.sqrt(2 * 2.1))) and inside.top_norms == pytest.approx(12 / 20)
    assert inside.top_variance == pytest.approx(12 / 20) and inside.top_changed == 0.5 and found.top_changed[:6].max() == 0
    assert inside.overlap == 0.5 and found.overlap[5] == 0.5
    assert inside.overlap_outside == pytest.approx(np.mean([1, 1, 0.5, 1]))  # neighbours: 0-1, 1-2, 2-3, 4-5
    assert found.overlap[[0, 1, 2, 3, 4, 7]].isna().all()


def test_golden_keys():
    """Fails where a default changed: raise the run's version, then write it down here. All stored runs are lost then, the committed too."""
    run = run_of(States(3))
    assert (run.name, run.version, run.key(States(3))) == ("gradient_variance.cifar_runs.states", 1, "0612821bdc9abb97c1dc")
    run = run_of(Redrawn("cifar10", 0.2, 3))
    assert (run.name, run.version, run.key(Redrawn("cifar10", 0.2, 3))) == (
        "gradient_variance.cifar_runs.redraw",
        1,
        "a4b144b1c137d2bd55cf",
    )


def test_redrawn_labels_are_those_of_the_trajectory():
    config = Redrawn("digits", 0.2, 5)
    labels, plain = (problem(Trajectory(5, "digits", corrupt_share=share, hidden=(3,)))[3] for share in (0.2, 0.0))
    assert redraw(config).table.changed.item() == pytest.approx(float((labels != plain).double().mean())) == pytest.approx(0.18, abs=0.03)


def test_a_re_run_has_the_same_weights_and_other_batches():
    one, other = SMALL, replace(SMALL, draws_seed=7)
    for mine, theirs in zip(problem(one)[0].parameters(), problem(other)[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    first, second = follow(one).table, follow(other).table
    assert first.train_accuracy[0] == second.train_accuracy[0] and (first.train_loss[2:] != second.train_loss[2:]).all()


def test_mixture():
    x, y = gaussian_mixture(1000, num_classes=4, shape=(2, 5), separation=3.0, seed=1)
    assert x.shape == (1000, 2, 5) and torch.bincount(y).tolist() == [250] * 4
    means = torch.stack([x[y == k].mean(0) for k in range(4)])
    assert float((x - means[y]).std()) == pytest.approx(1, abs=0.05) and 1.5 < float(means.std()) < 4.5
    assert torch.equal(gaussian_mixture(20, seed=1)[0], gaussian_mixture(20, seed=1)[0])
    assert not torch.equal(gaussian_mixture(20, seed=1)[0], gaussian_mixture(20, seed=2)[0])
    for options, message in (({"num_classes": 0}, "num_classes"), ({"shape": ()}, "shape"), ({"separation": -1.0}, "separation")):
        with pytest.raises(InvalidInput, match=message):
            gaussian_mixture(10, **options)


PARAMETERS = {
    "dataset": "fashion_mnist_small", "model": "fcn", "augment": "none", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
    "batch_size": 8, "num_steps": 16, "update_every": 4, "log_every": 2, "repeats": 3, "gc_steps": 1, "smoothing": 0.1,
    "constant_rates": [0.05, 0.01], "second_model": "lenet", "second_examples": 40, "second_repeats": 2,
    "many_problem": "gaussian_mixture", "many_examples": 80, "many_steps": 16, "many_update_every": 4, "many_log_every": 2, "many_repeats": 2,
    "image_size": 224, "states_steps": 8, "states_log_every": 2, "seeds": [0, 1],
}  # fmt: skip


def test_the_list_of_runs():
    groups = cifar.runs(**PARAMETERS)
    assert {name: len(group) for name, group in groups.items()} == {
        "plain": 2, "corrupted": 2, "smoothed": 2, "constant": 4, "second": 2, "many": 2, "others": 4, "few": 2, "states": 4, "redrawn": 2,
    }  # fmt: skip
    plain = groups["plain"][1]
    assert plain.seed == 1 and plain.drops == (8, 12) and plain.update_start == 2 and plain.two_pass == ("sgd",)
    assert {config.corrupt_share for config in groups["others"]} == {0.0, 0.2} and groups["others"][2].draws_seed == 1000
    assert all(config.drops == () for config in groups["constant"]) and groups["second"][0].num_steps == 8
    assert groups["states"][0].num_steps == 8 and groups["states"][0].drops == ()
    configs = cifar.configurations(**PARAMETERS)
    assert len({run_of(config).key(config) + run_of(config).name for config in configs}) == len(configs) == 26


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seeds": [1, 1]}, InvalidInput, "seeds must be distinct"),
        ({"constant_rates": [0.01, 0.1]}, InvalidInput, "0.05, the control of the drop"),
        ({"update_every": 5}, InvalidInput, "num_steps must hold at least four updates"),
        ({"many_log_every": 8}, InvalidInput, "many_steps must hold"),
        ({"states_steps": 40}, InvalidInput, "states_steps must hold an update"),
        ({"many_problem": "imagenet"}, NotFound, "many_problem.*imagenet_resnet18"),
    ],
)
def test_refusals(change, error, message):
    with pytest.raises(error, match=message):
        cifar.runs(**PARAMETERS | change)


def test_many_class_problems_have_the_papers_settings():
    """Table 2 and App. C.1."""
    groups = cifar.runs(**PARAMETERS | {
        "many_problem": "imagenet_resnet18", "many_examples": 20_000, "many_steps": 80_000, "many_update_every": 10_000, "many_log_every": 1000,
        "many_repeats": 10, "gc_steps": 3,
    })  # fmt: skip
    many = groups["many"][0]
    assert (many.model, many.learning_rate, many.momentum, many.weight_decay, many.batch_size) == ("resnet18", 0.1, 0.9, 1e-4, 128)
    assert (many.num_steps, many.drops, many.update_every, many.log_every, many.repeats, many.gc_steps) == (
        80_000, (40_000, 60_000), 10_000, 1000, 10, 3,
    )  # fmt: skip
    assert many.batch_norm and many.augment == "resized_crop_flip"
    others = cifar.MANY["cifar100_resnet32"]
    assert (others["learning_rate"], others["augment"]) == (0.1, "crop_flip")


def test_imagenet_from_files_in_its_layout(tmp_path, monkeypatch):
    """The run configuration on a tiny generated set: two shards of JPEG images of many sizes, with class names in the metadata."""
    folder = tmp_path / "data" / "imagenet"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    features = {"label": {"names": [f"class {i}" for i in range(1000)], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard in range(2):
        rows = []
        for i in range(8):
            buffer = BytesIO()
            height, width = rng.integers(40, 90, 2)
            Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "JPEG")
            rows.append({"bytes": buffer.getvalue(), "path": f"n{i:08d}.JPEG"})
        table = pa.table({"image": pa.array(rows, kind), "label": pa.array([(i * 331 + shard) % 1000 for i in range(8)])})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"train-{shard:05d}-of-00002.parquet", row_group_size=3)
    monkeypatch.setenv("SGDSCOPE_DATA", str(tmp_path / "data"))
    changes = {"many_problem": "imagenet_resnet18", "many_examples": 256, "many_steps": 4, "many_update_every": 1, "many_log_every": 1}
    config = cifar.runs(**PARAMETERS | changes | {"image_size": 32})["many"][0]
    few = {"num_examples": 16, "loss_examples": 16, "batch_size": 4, "num_steps": 2, "drops": (1,)}
    config = replace(config, **few, update_every=9, update_start=2, log_every=9, learning_rate=1e-3)
    model, _, x, y = problem(config)
    assert x.shape == (16, 3, 37, 37) and model(x).shape == (16, 1000) and len(set(y.tolist())) == 16  # 37: 32 x 256 / 224
    result = follow(config)
    assert result.status == "finished" and result.table.step.tolist() == [0, 2] and result.table.gc_average[1] > 0
    with pytest.raises(InvalidInput, match="imagenet needs num_examples"):
        problem(replace(config, num_examples=None))
