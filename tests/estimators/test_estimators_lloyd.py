"""Weighted Lloyd on inner products against explicit centres, its laws, and what it is worth."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from estimator_cases import close, dense, generator, normal, over_outcomes, problem, rows_of

from sgdscope.errors import InvalidInput, NotFound
from sgdscope.estimators import Stratified, partition_objective, weighted_lloyd
from sgdscope.gradients import PerExampleGradients


def objective(rows, assignment):
    return sum(float(len(of) * (of - of.mean(0)).square().sum()) for of in (rows[assignment == k] for k in assignment.unique()))


def slow(rows, num_clusters, *, steps, sizes, start, refill, pass_batch, generator, outside=None):
    """The same with d-dimensional centres, one example and one cluster at a time."""
    number, history, outside = len(rows), [], [0] * num_clusters if outside is None else outside.tolist()
    if start is None:
        centres = rows[torch.randperm(number, generator=generator)[:num_clusters]]
        last = [1] * num_clusters
    else:
        assignment = start.clone()
        last = [int((assignment == k).sum()) for k in range(num_clusters)]
        centres = [rows[assignment == k].mean(0) for k in range(num_clusters)]
    for _ in range(steps):
        order = torch.randperm(number, generator=generator).tolist() if sizes == "running" else list(range(number))
        assignment, given, weights = (
            torch.zeros(number, dtype=torch.int64),
            list(outside),
            [count + (sizes == "running") * outside[k] for k, count in enumerate([1] * num_clusters)],
        )
        near = torch.zeros(number, dtype=rows.dtype)
        for seen, i in enumerate(order):
            if sizes == "running" and seen % pass_batch == 0:
                weights = [count + 1 for count in given]
            if sizes == "previous":
                weights = [ours + rest for ours, rest in zip(last, outside, strict=True)]
            distances = {k: float((centres[k] - rows[i]).square().sum()) for k in range(num_clusters) if last[k]}
            best = min(distances, key=lambda k: (weights[k] * distances[k], k))
            assignment[i], near[i] = best, distances[best]
            given[best] += 1
        empties = [k for k in range(num_clusters) if not (assignment == k).any() and not outside[k]]
        for k in empties[: {"all": None, "one": 1, "none": 0}[refill]]:
            cost = [
                len(near[assignment == j]) * float(near[assignment == j].sum()) * ((assignment == j).sum() > 1) for j in range(num_clusters)
            ]
            largest = cost.index(max(cost))
            members = [i for i in range(number) if assignment[i] == largest]
            shuffled = torch.randperm(len(members), generator=generator).tolist()
            for place in shuffled[: len(members) // 2]:
                assignment[members[place]] = k
        last = [int((assignment == k).sum()) for k in range(num_clusters)]
        centres = [rows[assignment == k].mean(0) if last[k] else None for k in range(num_clusters)]
        history.append(objective(rows, assignment))
    return assignment, history


@pytest.mark.parametrize("refill", ["all", "one", "none"])
@pytest.mark.parametrize("sizes", ["previous", "running", "none"])
@pytest.mark.parametrize(("number", "clusters", "start"), [(20, 4, False), (20, 4, True), (30, 9, False), (7, 7, False), (12, 1, False)])
def test_explicit_centres(number, clusters, start, sizes, refill):
    rows = normal(number, 5, seed=number) + 2 * normal(3, 5, seed=1)[torch.arange(number) % 3]
    options = {"sizes": sizes, "refill": refill, "pass_batch": 3}
    options["start"] = (torch.arange(number) * 7 % clusters) if start else None
    for steps in (1, 2, 6):
        found = weighted_lloyd(rows @ rows.T, clusters, steps=steps, generator=generator(3), **options)
        assignment, history = slow(rows, clusters, steps=steps, generator=generator(3), **options)
        assert torch.equal(found.assignment, assignment)
        made = len(found.objective)
        close(torch.tensor(found.objective), torch.tensor(history[:made]), 1e-9)
        assert made == steps or (found.converged and history[made - 1 :] == pytest.approx([history[-1]] * (steps - made + 1)))
        assert torch.equal(found.sizes, torch.bincount(assignment, minlength=clusters))


@pytest.mark.parametrize("refill", ["all", "one", "none"])
@pytest.mark.parametrize("sizes", ["previous", "running", "none"])
def test_a_part_of_the_data(sizes, refill):
    """The rest counts in the sizes and keeps a cluster from being refilled; one without members in the part gets none."""
    rows = normal(20, 5, seed=4) + 2 * normal(3, 5, seed=1)[torch.arange(20) % 3]
    start, outside = torch.arange(20) * 7 % 5, torch.tensor([9, 0, 1, 30, 4, 2])
    for steps in (1, 2, 6):
        options = {"steps": steps, "sizes": sizes, "refill": refill, "start": start, "outside": outside, "pass_batch": 3}
        found = weighted_lloyd(rows @ rows.T, 6, generator=generator(3), **options)
        assignment, history = slow(rows, 6, generator=generator(3), **options)
        assert torch.equal(found.assignment, assignment) and not (assignment == 5).any()
        close(torch.tensor(found.objective), torch.tensor(history[: len(found.objective)]), 1e-9)


def test_a_step_may_raise_the_objective():
    """The smallest counter-example: gradients 0, 1, 2, 4 from {0, 2, 4}, {1} at 24 to {2}, {0, 1, 4} at 26."""
    g = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    start = torch.tensor([0, 1, 0, 0])
    found = weighted_lloyd(g @ g.T, 2, steps=1, sizes="previous", start=start, generator=generator())
    assert found.assignment.tolist() == [1, 1, 0, 1]
    assert (partition_objective(g @ g.T, start), found.objective[0]) == (24, 26)


@settings(max_examples=60)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 10**6), st.integers(1, 4))
def test_plain_k_means_never_raises_its_own_objective(number, clusters, seed, width):
    """Without the N_k weights, Lloyd's law: the plain sum of squared distances does not rise as long as nothing is refilled."""
    rows = normal(number, width, seed=seed)
    plain, start = [], None
    for _ in range(5):
        found = weighted_lloyd(
            rows @ rows.T, min(clusters, number), steps=1, sizes="none", refill="none", start=start, generator=generator(seed)
        )
        start = found.assignment
        sets = [rows[start == k] for k in start.unique()]
        plain.append(sum(float((of - of.mean(0)).square().sum()) for of in sets))
    assert all(later <= earlier + 1e-9 for earlier, later in zip(plain, plain[1:], strict=False))


def test_the_objective_is_the_variance_of_the_estimate():
    """Eq. 2: N^2 V of the stratified estimate, by enumeration on a network."""
    model, x, y = problem(dense, 7)
    gram = PerExampleGradients.of(model, "cross_entropy", x, y).gram()
    found = weighted_lloyd(gram, 3, steps=4, generator=generator())
    mean, variance = over_outcomes(Stratified(found.assignment), model, x, y)
    close(mean, rows_of(model, x, y).mean(0))
    close(variance * 49, torch.tensor(found.objective[-1], dtype=torch.float64))
    close(variance * 49, torch.tensor(partition_objective(gram, found.assignment), dtype=torch.float64))


def test_clusters_that_are_there_are_found():
    """Four tight, distant clouds of unequal sizes: a start with one example of each ends with the clouds."""
    sizes = [40, 10, 25, 5]
    of = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    rows = 100 * normal(4, 6, seed=1)[of] + 0.01 * normal(80, 6)
    best = min(
        (weighted_lloyd(rows @ rows.T, 4, sizes="running", generator=generator(seed)) for seed in range(8)), key=lambda c: c.objective[-1]
    )
    assert torch.equal(of[:, None] == of, best.assignment[:, None] == best.assignment)


def test_collapse_is_reported():
    """Unstructured gradients with the sizes of the paper: an empty cluster is refilled or stays empty, and the result says so."""
    rows = normal(300, 400, seed=5)
    bare, running = (
        weighted_lloyd(rows @ rows.T, 10, sizes=sizes, refill="none", steps=10, generator=generator(2)) for sizes in ("previous", "running")
    )
    assert bare.collapsed and bare.empty[-1] == 9 and int((bare.sizes > 0).sum()) == 1
    assert not running.collapsed and int((running.sizes > 0).sum()) == 10
    mended = weighted_lloyd(rows @ rows.T, 10, sizes="previous", steps=10, generator=generator(2))
    assert int((mended.sizes > 0).sum()) == 10 and mended.objective[-1] < bare.objective[-1]


def test_fixed_sizes_are_unstable_and_running_counts_are_not():
    """Loose clouds: by the sizes of the last step most assignments leave clusters empty; running counts leave none, and are better."""
    rows = normal(400, 30, seed=5) + 2 * normal(12, 30, seed=6)[torch.arange(400) % 12]
    found = {s: weighted_lloyd(rows @ rows.T, 20, sizes=s, steps=10, generator=generator(2)) for s in ("previous", "running", "none")}
    assert sum(empty > 0 for empty in found["previous"].empty) >= 8 and not any(found["running"].empty)
    last = {sizes: clustering.objective[-1] for sizes, clustering in found.items()}
    assert last["running"] < 0.5 * last["previous"] and last["running"] < last["none"]


def test_duplicates_leave_clusters_empty():
    """Three distinct gradients in five clusters: nothing is left to split, and the estimator ignores what is empty."""
    rows = normal(3, 4)[torch.tensor([0, 0, 1, 1, 1, 2])]
    found = weighted_lloyd(rows @ rows.T, 5, steps=10, sizes="none", generator=generator(1))
    assert found.objective[-1] == pytest.approx(0, abs=1e-12)
    assert Stratified(found.assignment).batch_size == int((found.sizes > 0).sum())


def test_float32_on_offset_gradients():
    """A common mean cancels in the distances; the partition is as good as that of float64."""
    rows = normal(200, 50, seed=2) + 3
    one, two = (
        weighted_lloyd((rows @ rows.T).to(kind), 8, sizes="running", generator=generator(1)) for kind in (torch.float32, torch.float64)
    )
    assert objective(rows, one.assignment) == pytest.approx(two.objective[-1], rel=0.03)
    assert one.objective[-1] == pytest.approx(objective(rows, one.assignment), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_clusters": 0}, InvalidInput, "num_clusters must be a whole number of at least 1; 0 came"),
        ({"num_clusters": 5}, InvalidInput, "num_clusters must be at most the number of examples; 5 came for 4"),
        ({"steps": 0}, InvalidInput, "steps must be a whole number of at least 1"),
        ({"sizes": "last"}, NotFound, "unknown sizes 'last'.*previous, running, none"),
        ({"refill": "some"}, NotFound, "unknown refill 'some'"),
        ({"gram": torch.zeros(4, 3)}, InvalidInput, r"gram must be a tensor \(N, N\)"),
        ({"gram": torch.full((4, 4), torch.nan)}, InvalidInput, "gram must be finite"),
        ({"start": torch.tensor([0, 1, 2, 0])}, InvalidInput, r"start must be \(4,\) whole numbers from 0 to 1.*values 0 to 2 came"),
        ({"start": torch.zeros(4)}, InvalidInput, r"start must be \(4,\) whole numbers"),
        ({"outside": torch.tensor([1, 2])}, InvalidInput, "outside came without a start"),
        (
            {"outside": torch.tensor([1, -2]), "start": torch.tensor([0, 1, 1, 0])},
            InvalidInput,
            r"outside must be \(2,\) sizes of clusters",
        ),
        ({"generator": None}, InvalidInput, "generator must be a torch.Generator"),
    ],
)
def test_refusals(settings, error, message):
    settings = {"gram": torch.eye(4), "num_clusters": 2, "generator": generator()} | settings
    with pytest.raises(error, match=message):
        weighted_lloyd(settings.pop("gram"), settings.pop("num_clusters"), **settings)
