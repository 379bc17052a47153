"""Which examples a step sees: permutations, subsets, draws, and going on from a state."""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no neighbours
from training_cases import generator

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.training import Batches


def batches(number, size, seed=0, **settings):
    return Batches(number, size, generator=generator(seed), **settings)


def draw(stream, count):
    return [stream.next().clone() for _ in range(count)]


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [4, 4]), (False, [4, 4, 3])])
def test_each_epoch_is_a_fresh_permutation(drop_last, sizes):
    stream = batches(11, 4, drop_last=drop_last)
    assert stream.steps_per_epoch == len(sizes)
    epochs = []
    for _ in range(20):
        found = draw(stream, len(sizes))
        assert [len(batch) for batch in found] == sizes
        order = torch.cat(found).tolist()
        assert len(set(order)) == sum(sizes) and set(order) <= set(range(11))
        epochs.append(tuple(order))
    assert len(set(epochs)) == 20


def test_epochs_are_the_permutations_of_the_generator():
    stream, other = batches(11, 4, seed=5), generator(5)
    for _ in range(3):
        order = torch.randperm(11, generator=other)
        assert torch.equal(stream.next(), order[:4]) and torch.equal(stream.next(), order[4:8])


def test_who_is_left_out_changes():
    """With drop_last, 3 of 11 are left out of each pass; over 30 passes everybody has been."""
    stream = batches(11, 4)
    left = [set(range(11)) - set(torch.cat(draw(stream, 2)).tolist()) for _ in range(30)]
    assert set.union(*left) == set(range(11))


def test_independent_batches_are_uniform_subsets():
    """Chi-square over all 10 subsets of 2 of 5, at 0.1%."""
    stream = batches(5, 2, sampling="independent")
    counts = dict.fromkeys(combinations(range(5), 2), 0)
    for batch in draw(stream, 4000):
        assert batch.shape == (2,)
        counts[tuple(sorted(batch.tolist()))] += 1  # a repeated index would be a KeyError
    statistic = sum((count - 400) ** 2 / 400 for count in counts.values())
    assert statistic < chi2.ppf(0.999, 9)


def test_draws_with_replacement_are_uniform_and_repeat():
    stream = batches(5, 3, sampling="with_replacement")
    found = torch.stack(draw(stream, 4000))
    counts = torch.zeros(125).index_add_(0, found @ torch.tensor([25, 5, 1]), torch.ones(4000))
    assert float((counts - 32).square().sum() / 32) < chi2.ppf(0.999, 124)  # triples, so that draws are independent too
    assert (found[:, 0] == found[:, 1]).any()
    assert batches(3, 3, sampling="with_replacement", seed=1).next().tolist() != [0, 1, 2]


@pytest.mark.parametrize("sampling", ["epochs", "independent"])
def test_a_batch_of_all_examples_is_in_order_and_draws_nothing(sampling):
    stream = batches(6, 6, sampling=sampling)
    before = stream.generator.get_state()
    assert all(batch.tolist() == list(range(6)) for batch in draw(stream, 3))
    assert torch.equal(stream.generator.get_state(), before)


@pytest.mark.parametrize("sampling", ["epochs", "independent", "with_replacement"])
@pytest.mark.parametrize("made", [0, 1, 3, 7])
def test_a_restored_stream_goes_on(sampling, made):
    stream = batches(11, 4, sampling=sampling)
    draw(stream, made)
    state = stream.state()
    expected = draw(stream, 12)
    other = batches(11, 4, sampling=sampling, seed=9)
    draw(other, 2)
    other.restore(state)
    assert all(torch.equal(batch, found) for batch, found in zip(expected, draw(other, 12), strict=True))


def test_a_seed_decides():
    one, two, other = (draw(batches(50, 4, seed=seed), 3) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_epochs_of_draws_are_whole_numbers_to_the_last_bit():
    """100 examples, batches of 3: 100 steps are 3 passes, while 100 / (100 / 3) may be a little less."""
    for number in range(1, 60):
        for size in range(1, number + 1):
            stream = batches(number, size, sampling="independent")
            assert stream.steps_per_epoch == number / size
            assert [stream.epoch(k * number) for k in (0, 1, 7)] == [0, size, 7 * size]
    assert batches(11, 4).epoch(3) == 1.5 and batches(11, 4, drop_last=False).epoch(3) == 1.0


@pytest.mark.parametrize("size", [0, -1, 12, 2.0, True, None, "4"])
def test_batch_sizes_out_of_range(size):
    with pytest.raises(InvalidInput, match=r"batch_size must be a whole number from 1 to 11 \(the number of examples\);"):
        batches(11, size)


def test_draws_with_replacement_may_be_more_than_there_are():
    stream = batches(3, np.int64(7), sampling="with_replacement")
    assert stream.next().shape == (7,) and type(stream.batch_size) is int and stream.epoch(3) == 7.0


def test_other_refusals():
    with pytest.raises(NotFound, match="unknown sampling 'epoch'. Did you mean 'epochs'\\? Valid: epochs, independent, with_replacement"):
        batches(11, 4, sampling="epoch")
    with pytest.raises(InvalidInput, match="generator must be a torch.Generator on the CPU, got 0"):
        Batches(11, 4, generator=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("sampling", ["epochs", "independent", "with_replacement"])
def test_the_same_on_every_device(sampling):
    on_cpu, on_gpu = batches(11, 4, sampling=sampling), batches(11, 4, sampling=sampling, device="cuda")
    for _ in range(6):
        batch = on_gpu.next()
        assert batch.device.type == "cuda" and torch.equal(batch.cpu(), on_cpu.next())
