"""The small network on images: its inputs and targets, batched against single runs, what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sgdscope.data import load_dataset
from sgdscope.errors import InvalidInput
from sgdscope.experiments.break_even import networks
from sgdscope.experiments.break_even.networks import TinyNetwork, components_and_targets

SMALL = TinyNetwork("digits", 0.5, 8, 1, num_examples=20, components=4, hidden=3, num_steps=30, probe_every=10)


def test_components_are_principal_and_targets_halve_the_classes():
    x, y = components_and_targets("digits", 50, 4)
    data = load_dataset("digits", num_examples=50, seed=0)
    images = data.x.flatten(1).double().numpy()
    images = images - images.mean(0)
    values, vectors = np.linalg.eigh(images.T @ images)
    expected = images @ vectors[:, :-5:-1]
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(np.abs(x.numpy()), np.abs(expected), atol=1e-9)  # a component's sign is free
    np.testing.assert_allclose(x.T @ x, np.diag(np.diag(expected.T @ expected)), atol=1e-9)
    assert float(x.square().mean()) == pytest.approx(1)
    assert y[:, 0].tolist() == [1.0 if label < 5 else -1.0 for label in data.y.tolist()]


def test_the_images_are_the_same_for_all_seeds():
    assert "seed" not in components_and_targets.__wrapped__.__code__.co_varnames
    first, other = (networks.train(replace(SMALL, seed=seed, batch_size=20)).table for seed in (1, 2))
    assert first.loss[0] != other.loss[0], "another initialisation"


def test_batched_runs_are_single_ones():
    configs = [replace(SMALL, learning_rate=rate, seed=seed) for rate in (0.1, 0.5) for seed in (1, 2)]
    for config, result in zip(configs, networks.train_together(configs), strict=True):
        alone = networks.train(config)
        pd.testing.assert_frame_equal(result.table, alone.table, check_exact=False, rtol=1e-8, atol=1e-10)
        assert (result.status, result.diverged_at) == (alone.status, alone.diverged_at)


def test_batched_runs_have_the_same_bits_twice():
    configs = [SMALL, replace(SMALL, learning_rate=0.1)]
    for first, second in zip(networks.train_together(configs), networks.train_together(configs), strict=True):
        pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)


def test_only_runs_of_one_batch_size_go_together():
    shape = networks.train.shape
    assert shape(SMALL) == shape(replace(SMALL, learning_rate=0.9, seed=5))
    assert shape(SMALL) not in {shape(replace(SMALL, batch_size=20)), shape(replace(SMALL, num_steps=40)), shape(replace(SMALL, hidden=4))}


def test_the_break_even_point_stands_on_every_probe():
    config = TinyNetwork("digits", 0.5, 64, 0, num_examples=64, components=5, hidden=8, num_steps=160, probe_every=10)
    table = networks.train(config).table
    assert set(table.outcome) == {"crossed"} and len(table) == 17
    for column in ("crossing_step", "crossing_sharpness", "sharpness_after"):
        assert table[column].nunique() == 1
    after = table[table.step >= table.crossing_step].iloc[0]
    before = table[table.step < table.crossing_step].iloc[-1]
    assert before.left_side < 1 <= after.left_side
    assert after.sharpness == after.sharpness_after and before.sharpness < after.crossing_sharpness <= after.sharpness
    assert after.crossing_sharpness * 0.5 / 2 == pytest.approx(1), "of the full batch"


def test_training_that_diverges_says_so():
    result = networks.train(replace(SMALL, learning_rate=1e4))
    assert result.status == "diverged" and result.diverged_at in (10, 20, 30)
    dead = result.table.step >= result.diverged_at
    assert result.table.loss[dead].isna().all() and result.table.loss[~dead].notna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gaussian", 30, 4), "the small network needs labelled images or feature vectors, 'gaussian' has none. Use fashion_mnist_small"),
        (("digits", 100, 65), "the small network takes 65 principal components, 100 examples of 'digits' have 64 only"),
    ],
)
def test_what_it_cannot_use_is_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        components_and_targets(*arguments)


def test_text_is_refused(monkeypatch):
    monkeypatch.setattr(networks, "load_dataset", lambda name, **_: SimpleNamespace(x=("good", "bad"), y=[0, 1]))
    with pytest.raises(InvalidInput, match="needs labelled images or feature vectors, 'reviews' has none"):
        components_and_targets("reviews", 2, 1)


def test_more_components_than_examples_are_refused():
    with pytest.raises(InvalidInput, match="takes 20 principal components, 10 examples of 'digits' have 10 only"):
        networks.components_and_targets("digits", 10, 20)
