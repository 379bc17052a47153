"""The random-features model: what is frozen, how long features are, how many parameters the readout has, refusals."""

import pytest
import torch

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.models import build, trainable
from sgdscope.models.parameters import dimension


def features(definition, outputs):
    model = build("random_features", seed=0, in_shape=(400,), num_classes=outputs, definition=definition, bias=outputs == 2)
    return model, model[1].weight


def test_only_the_readout_is_trained():
    """d = 2 h_s + 2 with two outputs and a bias (authors' code), h_s with one output (paper)."""
    theirs, papers = features("authors_code", 2)[0], features("paper", 1)[0]
    assert dimension(theirs) == 2002 and dimension(papers) == 1000
    assert all(name.startswith("3.") for name in [*trainable(theirs), *trainable(papers)])


def test_length_of_the_features():
    """1 in the paper; uniform on +-1/sqrt(I) has a mean square of 1/(3 I)."""
    torch.testing.assert_close(features("paper", 1)[1].norm(dim=1), torch.ones(1000))
    lengths = features("authors_code", 2)[1].norm(dim=1)
    assert lengths.square().mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_it_is_a_linear_readout_of_relu_features():
    model, weight = features("paper", 1)
    x = torch.randn(5, 400, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(x), (x @ weight.T).relu() @ model[3].weight.T)


def test_refusals():
    with pytest.raises(NotFound, match="unknown definition 'mine'.*Valid: paper, authors_code"):
        build("random_features", seed=0, definition="mine")
    with pytest.raises(InvalidInput, match="hidden must be a whole number of at least 1 .the width.; 0 came"):
        build("random_features", seed=0, hidden=0)
