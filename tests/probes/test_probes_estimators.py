"""Estimators along a trajectory: streams of their own, before and after a refresh, checkpoints; and strong growth against dense gradients."""

import re
from math import inf

import pandas as pd
import pytest
import torch
from torch import nn

from sgdscope.data.synthetic import stream_generator
from sgdscope.errors import InvalidInput
from sgdscope.estimators import SVRG, GradientClustering, MiniBatch, gradient_variance
from sgdscope.gradients import PerExampleGradients
from sgdscope.probes import EstimatorVariance, Every, From, Recorder, StrongGrowth, record
from sgdscope.training import Snapshot, checkpoint, loss_and_gradient, measuring, train


def problem(number=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(number, 6, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return model, x, (x[:, :3] + 0.5 * torch.randn(number, 3, generator=generator)).argmax(1)


MAKERS = {
    "sgd": lambda: MiniBatch(10),
    "svrg": lambda: SVRG(10),
    "gc": lambda: GradientClustering(10, centres="rank1", steps=2),
    "gram": lambda: GradientClustering(10, steps=2),
}


def probe(*names, **settings):
    return EstimatorVariance({name: MAKERS[name]() for name in names}, **{"refresh": From(2, 6), "repeats": 4} | settings)


def run(recorder, steps=14, **options):
    model, x, y = problem()
    settings = {"learning_rate": 0.2, "batch_size": 10, "num_steps": 14} | options
    for point in train(model, "cross_entropy", x, y, **settings):
        recorder(point)
        if point.step == steps:
            break
    return recorder.table


def test_another_estimator_changes_no_bit_of_the_others():
    alone = {name: run(Recorder([(probe(name), Every(2))])) for name in MAKERS}
    together = run(Recorder([(probe(*MAKERS), Every(2))]))
    for name, table in alone.items():
        columns = [column for column in table if column.startswith(f"{name}_")]
        assert len(columns) > 6
        pd.testing.assert_frame_equal(table[columns], together[columns], check_exact=True)


def test_rows_and_ages():
    table = run(Recorder([(probe("svrg"), Every(2))]))
    assert table.svrg_average.isna().tolist() == [True] + [False] * 7  # nothing before the first refresh, at step 2
    assert table.svrg_age.tolist()[1:] == [0, 2, 0, 2, 4, 0, 2]  # refreshed at 2, 6, 12
    assert table.svrg_before_average.notna().tolist() == [step in (6, 12) for step in range(0, 15, 2)]
    fresh = table.svrg_age == 0
    assert (table.svrg_average[fresh] < 1e-13).all() and (table.svrg_average[~fresh].dropna() > 1e-6).all()
    assert (table.svrg_before_average.dropna() > 1e-6).all()


def test_the_numbers_are_those_of_gradient_variance():
    """At one snapshot, from the streams that the docstring names, in eval mode."""
    model, x, y = problem()
    model.train()
    point = Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=6)
    found = probe("gc", "sgd", seed=3, rescaled_to=(1e-3,), two_pass=("sgd",)).measure(point)
    assert model.training
    gc = MAKERS["gc"]()
    model.eval()
    gc.refresh(model, "cross_entropy", x, y, generator=stream_generator(3, "estimator variance", "gc", "refresh", "6"))
    for name, estimator in (("gc", gc), ("sgd", MAKERS["sgd"]())):
        stream = stream_generator(3, "estimator variance", name, "variance", "6")
        direct = gradient_variance(estimator, model, "cross_entropy", x, y, repeats=4, generator=stream, rescaled_to=(1e-3,))
        assert (found[f"{name}_average"], found[f"{name}_normalised"]) == (direct.average, direct.normalised)
        assert found[f"{name}_normalised_mean"] == direct.normalised_mean
    assert (found["sgd_guarded"], found["sgd_unguarded"]) == (direct.normalised_guarded, direct.normalised_unguarded)
    assert (found["sgd_average_two_pass"], found["sgd_rescaled_0"]) == (direct.average_two_pass, *direct.normalised_rescaled)
    assert "gc_guarded" not in found and "gc_before_average" not in found
    sizes = torch.bincount(gc.partition, minlength=10)
    assert (found["gc_clusters"], found["gc_largest"]) == (int((sizes > 0).sum()), int(sizes.max()) / 60)
    assert (found["gc_collapsed"], found["gc_objective"]) == (gc.clustering.collapsed, gc.clustering.objective[-1])


@pytest.mark.parametrize("stop", [3, 8, 11])
@pytest.mark.parametrize("shared", [False, True])
def test_goes_on_bit_for_bit(stop, shared, tmp_path):
    """Interrupted anywhere, also with measurements that draw from the generator of the batches."""

    def go(steps, path):
        generator = torch.Generator().manual_seed(7)
        recorder = Recorder([(probe(*MAKERS, generator=generator if shared else None), Every(2))])
        settings = {"checkpoint": path, "checkpoint_every": 1, "carry": {"recorder": recorder}, "generator": generator}
        return run(recorder, steps, **settings)

    whole = go(14, tmp_path / "whole.safetensors")
    go(stop, tmp_path / "parts.safetensors")
    pd.testing.assert_frame_equal(go(14, tmp_path / "parts.safetensors"), whole, check_exact=True)


def test_a_shared_generator_changes_the_batches():
    """The authors' protocol: what is measured decides which batches come."""

    def batches(*names):
        generator = torch.Generator().manual_seed(7)
        model, x, y = problem()
        recorder = Recorder([(probe(*names, generator=generator), Every(2))])
        points = train(model, "cross_entropy", x, y, learning_rate=0.2, batch_size=10, num_steps=14, generator=generator)
        found = []
        for point in points:
            recorder(point)
            found += [] if point.batch is None else [point.batch.tolist()]
        return found

    one, other = batches("sgd"), batches("svrg", "gc")
    assert one[:6] == other[:6] and one != other  # the first pass of six batches was drawn before the first measurement


@pytest.mark.parametrize(
    ("estimators", "settings", "message"),
    [
        ({}, {}, "at least one"),
        ({"sgd": 3}, {}, "estimator must be an object with estimate(model, loss, x, y, generator=); 3 came"),
        ({"a": MiniBatch}, {}, "estimator must be an object with estimate(model, loss, x, y, generator=); the class MiniBatch came"),
        ({3: MiniBatch(3)}, {}, "estimators must be a dict of names and estimators"),
        (
            {"a": SVRG(3), "a_before": SVRG(3)},
            {},
            "columns 'a_before_...' are those of 'a' before a refresh; 'a_before' came too. Rename it",
        ),
        ({"a": SVRG(3)}, {"rescaled_to": [-1.0]}, "rescaled_to must be a list of variances above 0"),
        ([MiniBatch(4)], {}, "estimators must be a dict of names and estimators, at least one"),
        ({"sgd": MiniBatch(2)}, {"refresh": 10}, "refresh must be True, False, or a function of the step, got 10."),
        ({"sgd": MiniBatch(2)}, {"two_pass": "sgd"}, "two_pass must be True, False or a list of names; 'sgd' came"),
        ({"sgd": MiniBatch(2)}, {"two_pass": None}, "two_pass must be True, False or a list of names; None came"),
        ({"sgd": MiniBatch(2)}, {"two_pass": ["gc"]}, "two_pass must name estimators that are measured, sgd; gc came"),
        ({"sgd": MiniBatch(2)}, {"repeats": 1}, "repeats must be a whole number of at least 2"),
    ],
)
def test_refusals(estimators, settings, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        EstimatorVariance(estimators, **{"refresh": True} | settings)


def test_two_pass_for_all_or_none():
    for given, expected in ((True, {"sgd", "gc"}), (False, set()), (["gc"], {"gc"}), ((), set())):
        assert probe("sgd", "gc", two_pass=given).two_pass == expected


@pytest.mark.parametrize("refresh", [From(1, 6), Every(7), From(3, 1)])
def test_refreshes_happen_whatever_the_schedule_of_the_probe(refresh):
    """As by hand, from the same streams; a step that only refreshes adds no row."""
    table = run(Recorder([(probe("gc", "svrg", refresh=refresh), Every(5))]))
    assert table.step.tolist() == [0, 5, 10]
    model, x, y = problem()
    estimators, expected, last = {name: MAKERS[name]() for name in ("gc", "svrg")}, [], None
    for point in train(model, "cross_entropy", x, y, learning_rate=0.2, batch_size=10, num_steps=14):
        last, row = point.step if refresh(point.step) else last, {}
        with measuring(model):
            for name, one in estimators.items():
                stream = lambda what: stream_generator(0, "estimator variance", name, what, str(point.step))  # noqa: B023, E731
                if refresh(point.step):
                    one.refresh(model, "cross_entropy", x, y, generator=stream("refresh"))
                if point.step % 5 == 0 and last is not None:
                    found = gradient_variance(one, model, "cross_entropy", x, y, repeats=4, generator=stream("variance"))
                    row |= {f"{name}_average": found.average, f"{name}_age": float(point.step - last)}
        expected += [row] if point.step % 5 == 0 else []
    columns = [f"{name}_{column}" for name in estimators for column in ("average", "age")]
    pd.testing.assert_frame_equal(table[columns], pd.DataFrame(expected, columns=columns), check_exact=True)


def test_a_scheduled_refresh_takes_up_a_changed_model():
    """A layer that is trained from step 6 on: nothing can be measured before that refresh, all after it."""
    model, x, y = problem()
    model[0].requires_grad_(False)
    recorder, rows = Recorder([(probe("sgd", "svrg", "gc", refresh=Every(6)), Every(3))]), []
    for step in range(13):
        if step == 6:
            model[0].requires_grad_(True)
        rows.append(recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step)))
    table = recorder.table
    assert table[["svrg_average", "gc_average"]].notna().all(axis=None) and table.gc_age.tolist() == [0, 3, 0, 3, 0]
    assert table.step[table.svrg_before_average.notna()].tolist() == [12] == table.step[table.gc_before_average.notna()].tolist()
    model[0].requires_grad_(False)
    with pytest.raises(InvalidInput, match="the estimator was refreshed on another model. Call refresh with this one first."):
        recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=15))


class Foreign:
    """An estimator of somebody else: no base class, a state of its own."""

    batch_size = 10

    def __init__(self):
        self.inner, self.refreshed = MiniBatch(10), 0

    def estimate(self, model, loss, x, y, *, generator):
        return self.inner.estimate(model, loss, x, y, generator=generator)

    def refresh(self, model, loss, x, y, *, generator):
        self.refreshed += 1

    def state(self):
        return {"refreshed": self.refreshed}

    def restore(self, state):
        self.refreshed = state["refreshed"]


class Bare:
    """No more than train and gradient_variance need."""

    def estimate(self, model, loss, x, y, *, generator):
        return MiniBatch(10).estimate(model, loss, x, y, generator=generator)


@pytest.mark.parametrize("maker", [Foreign, Bare])
def test_anything_that_estimates_will_do(maker, tmp_path):
    """In training, in `gradient_variance` and here; refreshed and saved if it can be."""
    estimator = maker()
    table = run(Recorder([(EstimatorVariance({"one": estimator}, refresh=Every(4), repeats=4), Every(2))]))
    same = run(Recorder([(EstimatorVariance({"one": MiniBatch(10)}, refresh=Every(4), repeats=4), Every(2))]))
    columns = [column for column in table if column.startswith("one_")]
    pd.testing.assert_frame_equal(table[columns], same[columns], rtol=1e-4)  # sums in another order
    assert maker is Bare or estimator.refreshed == 4

    def go(steps):
        again = maker()
        recorder = Recorder([(EstimatorVariance({"one": again}, refresh=Every(4), repeats=4), Every(2))])
        run(recorder, steps, estimator=maker(), checkpoint=tmp_path / "run", checkpoint_every=1, carry={"recorder": recorder})
        return again

    go(6)
    again = go(14)
    assert maker is Bare or again.refreshed == 4


def test_an_own_loop_that_updates_clusters_goes_on(tmp_path):
    """The loop of the book's page on the library: saved before the recorder's call, with the generator and the clusters' centres."""

    def loop(first, last, path):
        model, x, y = problem()
        clusters, generator = GradientClustering(10, centres="rank1", steps=2), torch.Generator().manual_seed(3)
        variance = EstimatorVariance({"gc": clusters}, refresh=Every(5), repeats=4)
        recorder = Recorder([variance], when=Every(3))
        if first:
            saved = checkpoint.load(path)
            model.load_state_dict(saved["model"])
            generator.set_state(saved["generator"])
            recorder.restore(saved["recorder"])
        for step in range(first, last):
            if step == 4:
                parts = {"model": model.state_dict(), "generator": generator.get_state(), "recorder": recorder.state()}
                checkpoint.save(path, parts)
            recorder(Snapshot(model=model, loss="cross_entropy", x=x, y=y, step=step))
            batch = torch.randint(60, (10,), generator=generator)
            for parameter, part in zip(model.parameters(), loss_and_gradient(model, "cross_entropy", x[batch], y[batch])[1], strict=True):
                parameter.data -= 0.2 * part
            clusters.update(model, "cross_entropy", x, y, num_examples=20, generator=generator)
        return recorder.table

    whole = loop(0, 13, tmp_path / "run")
    pd.testing.assert_frame_equal(loop(4, 13, tmp_path / "run"), whole, check_exact=True)
    assert whole.step.tolist() == [0, 3, 6, 9, 12] and whole.gc_age.tolist() == [0, 3, 1, 4, 2]


def test_the_state_of_other_estimators():
    with pytest.raises(InvalidInput, match="must be of the estimators"):
        probe("sgd").restore(probe("svrg").state())


def test_strong_growth_against_dense_gradients():
    model, x, y = problem()
    found = StrongGrowth().measure(Snapshot(model=model, loss="cross_entropy", x=x, y=y))
    rows = PerExampleGradients.of(model, "cross_entropy", x, y).dense().double()
    mean = rows.mean(0)
    assert found["growth_max"] == pytest.approx(float(rows.norm(dim=1).max() / mean.norm()), rel=1e-5)
    assert found["growth_mean_square"] == pytest.approx(float(rows.square().sum(1).mean() / mean.square().sum()), rel=1e-5)
    assert found["growth_gradient_norm"] == pytest.approx(float(mean.norm()), rel=1e-5)
    assert found["growth_variance"] == pytest.approx(float((rows - mean).square().mean()), rel=1e-5)


def test_strong_growth_where_the_mean_is_zero():
    """Two examples whose gradients cancel."""
    model = nn.Linear(1, 1, bias=False)
    x, y = torch.ones(2, 1), torch.tensor([[1.0], [-1.0]])
    with torch.no_grad():
        model.weight.zero_()
    found = StrongGrowth().measure(Snapshot(model=model, loss="squared_error", x=x, y=y))
    assert found == {"growth_max": inf, "growth_mean_square": inf, "growth_gradient_norm": 0.0, "growth_variance": 1.0}


def test_strong_growth_on_a_subset_is_of_the_subset():
    model, x, y = problem()
    found = StrongGrowth(num_examples=20, seed=4).measure(Snapshot(model=model, loss="cross_entropy", x=x, y=y))
    index = torch.randperm(60, generator=stream_generator(4, "examples"))[:20]
    alone = StrongGrowth().measure(Snapshot(model=model, loss="cross_entropy", x=x[index], y=y[index]))
    assert found == alone


def test_the_recorder_takes_both():
    model, x, y = problem()
    trained = train(model, "cross_entropy", x, y, learning_rate=0.1, batch_size=10, num_steps=4)
    table = record(trained, Recorder([(probe("sgd"), Every(2)), StrongGrowth(num_examples=30)]))
    assert len(table) == 5 and table.growth_max.notna().all() and (table.growth_max >= 1).all()
