# ruff: noqa: E501, E731  (tables of cases and messages, one line each)
"""What `PerExampleGradients.of` promises: frozen parameters, one check a model, the user's model left alone, a budget that holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from twins import case, cross_entropy, loop, seeded

from sgdscope.errors import InvalidInput
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.convolution import Geometry, Patches
from sgdscope.gradients.factors import Outer, cheaper_in_factors


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", [1 << 30, 1])
@pytest.mark.parametrize("name", ["cnn", "norms", "lstm"])
def test_later_training_changes_nothing(name, memory):
    model, x, y = case(name)
    expected = loop(model, cross_entropy, x, y)
    G = PerExampleGradients.of(model, cross_entropy, x, y, memory=memory, chunk=2)
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    cross_entropy(model(x), y).mean().backward()
    optimiser.step()
    model.train()  # another mode
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer += 1
    assert not torch.allclose(loop(model.eval(), cross_entropy, x, y), expected)
    model.train()
    close(G.dense(), expected)
    close(G.gram(), expected @ expected.T)


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_the_model_is_left_alone(memory):
    model, x, y = case("norms")
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    G = PerExampleGradients.of(model, cross_entropy, x, y, memory=memory)
    G.gram()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(model[0]._forward_hooks) == 1 and not model[6]._forward_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_works_without_gradient_mode():
    model, x, y = case("cnn")
    expected = loop(model, cross_entropy, x, y)
    with torch.no_grad():
        for memory in (1 << 30, 1):
            G = PerExampleGradients.of(model, cross_entropy, x, y, memory=memory)
            close(G.dense(), expected)
    assert not G.mean().requires_grad


def test_a_hook_of_the_user_is_part_of_the_model():
    model, x, y = case("mlp")
    model[1].register_forward_hook(lambda module, args, output: 3 * output)
    close(PerExampleGradients.of(model, cross_entropy, x, y).dense(), loop(model, cross_entropy, x, y))


def test_what_is_used_in_place_afterwards():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            out = self.a(x)
            out += x
            return self.b(torch.relu_(out))

    model, (_, x, y) = seeded(Residual), case("tied modules")
    close(PerExampleGradients.of(model, cross_entropy, x, y).dense(), loop(model, cross_entropy, x, y))


def test_one_check_a_model():
    model, x, y = case("cnn")
    calls = []
    model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    PerExampleGradients.of(model, cross_entropy, x, y)
    first = len(calls)
    PerExampleGradients.of(model, cross_entropy, x, y)
    assert len(calls) == first + 1 and calls[-1] == len(x)
    model[2].requires_grad_(False)  # another question: checked again
    assert PerExampleGradients.of(model, cross_entropy, x, y).shape[1] < sum(p.numel() for p in model.parameters())
    assert len(calls) > first + 2


def test_plans_do_not_keep_models_alive():
    import gc
    import weakref

    model, x, y = case("mlp")
    PerExampleGradients.of(model, "cross_entropy", x, y)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_data_that_was_written_to():
    model, x, y = case("mlp")
    for memory in (1 << 30, 1):
        G = PerExampleGradients.of(model, cross_entropy, x, y, memory=memory)
        x += 1
        with pytest.raises(InvalidInput, match="x must stay as it was when the gradients were taken.*clone"):
            G.gram()


def test_same_bits_twice():
    model, x, y = case("lenet", number=9, dtype=torch.float32)
    first, second = (PerExampleGradients.of(model, cross_entropy, x, y).gram() for _ in range(2))
    assert torch.equal(first, second)


BUDGET = """
import sys, torch
from pathlib import Path
from torch import nn
from sgdscope.gradients import PerExampleGradients

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

torch.set_num_threads(1)
torch.manual_seed(0)
layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(4608, 64), nn.ReLU(), nn.Linear(64, 10))
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(800, 3, 28, 28, generator=generator), torch.randint(10, (800,), generator=generator)
PerExampleGradients.of(model, "cross_entropy", x[:4], y[:4]).gram()
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
G = PerExampleGradients.of(model, "cross_entropy", x, y, memory=int(sys.argv[1]))
gram = G.gram()
print(G.kept, status("VmHWM") - before, float(gram.double().sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc, Linux only")
def test_memory_stays_within_the_budget():
    """800 examples, whose factors take 31 MiB and whose gradients 0.9 GiB, in 32 MiB beside the result (2.4 MiB)."""
    found = {}
    for memory in (32 << 20, 1 << 30):
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # live memory, without the gaps that glibc keeps
        done = subprocess.run([sys.executable, "-c", BUDGET, str(memory)], capture_output=True, text=True, check=True, env=environment)
        kept, peak, total = done.stdout.split()
        found[memory] = (kept == "True", float(peak), float(total))
    assert not found[32 << 20][0] and found[1 << 30][0]
    assert found[32 << 20][1] < 32 + 2.4 + 6, found  # 6 MiB: copy of the model, graph of a chunk
    assert found[32 << 20][2] == pytest.approx(found[1 << 30][2], rel=1e-4)


def test_the_cheaper_form_is_chosen():
    """Counts of multiplications: always factors for one position, rows for LeNet's convolutions, factors for small maps with many channels."""

    def maps(c, o, side, k):
        geometry = Geometry((k, k), (1, 1), (1, 1), 1, (0, 0, 0, 0), "constant")
        return Patches(torch.zeros(2, 1, c, side + k - 1, side + k - 1), torch.zeros(2, 1, o, side, side), geometry)

    assert Outer(torch.zeros(2, 1, 84), torch.zeros(2, 1, 10)).factored("auto", 10_000)
    assert not maps(1, 6, 28, 5).factored("auto", 1000) and not maps(6, 16, 10, 5).factored("auto", 1000)
    assert maps(512, 512, 4, 3).factored("auto", 1000) and not maps(64, 64, 14, 3).factored("auto", 1000)
    for form in ("factored", "materialised"):
        assert (
            maps(1, 6, 28, 5).factored(form, 1000)
            == Outer(torch.zeros(2, 1, 84), torch.zeros(2, 1, 10)).factored(form, 9)
            == (form == "factored")
        )
    assert cheaper_in_factors(2, 100, 100, examples=50) and not cheaper_in_factors(20, 100, 100, examples=50)
