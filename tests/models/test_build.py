"""Models by name: parameter counts of the papers, the same weights from the same seed, the global generator untouched."""

import pytest
import torch

from sgdscope.errors import NotFound
from sgdscope.models import build


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_lenet_has_the_paper_s_parameters():
    assert parameters(build("lenet", seed=0)) == 61_706


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, second, other = (build("lenet", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(NotFound, match="unknown model 'lenett'. Did you mean 'lenet'"):
        build("lenett", seed=0)
