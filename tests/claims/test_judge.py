"""Rules of every kind applied to evidence, at their borders; and what is not judged."""

import json
import math

import numpy as np
import pytest

from sgdscope.claims import Evidence, Measurement, judge, scorecard
from sgdscope.claims.card import printed
from sgdscope.claims.judge import MIME
from sgdscope.claims.ledger import Claim
from sgdscope.errors import InvalidInput, NotFound
from sgdscope.runs.collect import Sources

NAN, INF = float("nan"), float("inf")
pytestmark = pytest.mark.usefixtures("ledger")


def verdict(claim, note="", **parts):
    return judge(claim, Evidence(parts), note=note).verdict


def m(value, low=None, high=None, seeds=3):
    return Measurement(value, None if low is None else (low, high), seeds)


@pytest.mark.parametrize(
    ("value", "met"), [(0.0, True), (0.5, True), (-0.5, True), (0.5000001, False), (-0.6, False), (NAN, False), (INF, False)]
)
def test_identity(value, met):
    assert verdict("be-exact", error=m(value)) == ("reproduced" if met else "not reproduced")


@pytest.mark.parametrize(
    ("low", "high", "up", "down"),
    [(0.1, 0.2, True, False), (0.0, 0.2, False, False), (-0.1, 0.2, False, False), (-0.2, 0.0, False, False), (-0.2, -0.1, False, True)],
)
def test_direction(low, high, up, down):
    assert verdict("be-up", slope=m(0.1, low, high)) == ("reproduced" if up else "not reproduced")
    assert verdict("be-down", slope=m(0.1, low, high)) == ("reproduced" if down else "not reproduced")


@pytest.mark.parametrize("measured", [m(0.1, 0.1, 0.2, seeds=2), m(0.1, seeds=1)])
def test_a_direction_needs_three_seeds(measured):
    judged = judge("be-up", Evidence({"slope": measured}))
    assert (judged.verdict, judged.reason) == ("not run", "a direction needs 3 seeds: slope")


@pytest.mark.parametrize(
    ("value", "met"), [(10, True), (20, True), (5, True), (20.1, False), (4.9, False), (0, False), (-10, False), (NAN, False)]
)
def test_value_within_a_factor(value, met):
    assert verdict("be-about", size=m(value)) == ("reproduced" if met else "not reproduced")


@pytest.mark.parametrize(
    ("measured", "met"),
    [(m(11, 9, 12), True), (m(11, 10, 12), True), (m(9, 8, 10), True), (m(11, 10.1, 12), False), (m(10), True), (m(10.1), False)],
)
def test_value_in_our_interval(measured, met):
    assert verdict("be-inside", size=measured) == ("reproduced" if met else "not reproduced")


@pytest.mark.parametrize(("note", "met"), [("Because of it.", True), ("", False), ("  \n", False)])
def test_note(note, met):
    assert verdict("be-err-sign", note) == ("reproduced" if met else "not reproduced")


@pytest.mark.parametrize(
    ("error", "low", "note", "expected"),
    [
        (0.1, 0.1, "so", "reproduced"),
        (9, 0.1, "so", "partly"),
        (9, -1, "so", "partly"),
        (9, -1, "", "not reproduced"),
        (0.1, -1, "", "partly"),
    ],
)
def test_some_but_not_all(error, low, note, expected):
    judged = judge("be-many", Evidence({"error": m(error), "slope": m(0.2, low, 0.3, seeds=4)}), note=note)
    assert judged.verdict == expected
    assert [part.name for part in judged.parts] == ["error", "slope", "argument"]
    assert judged.seeds == 4


def test_smoke_judges_nothing(monkeypatch):
    monkeypatch.setenv("SGDSCOPE_SCALE", "smoke")
    judged = judge("be-exact", Evidence({"error": m(0)}))
    assert (judged.verdict, judged.reason, judged.scale) == ("not run", "smoke scale", "smoke")
    assert "not judged" in judged._repr_mimebundle_()["text/html"]
    with pytest.raises(InvalidInput, match="its rule measures"):  # but the page must work
        judge("be-exact", Evidence({}))


@pytest.mark.parametrize("scale", ["quick", "paper", "custom"])
def test_other_scales_judge(monkeypatch, scale):
    monkeypatch.setenv("SGDSCOPE_SCALE", scale)
    judged = judge("be-exact", Evidence({"error": m(0)}))
    assert (judged.verdict, judged.scale) == ("reproduced", scale)


def test_by_hand_is_custom(monkeypatch):
    monkeypatch.delenv("SGDSCOPE_SCALE")
    assert judge("be-exact", Evidence({"error": m(0)})).scale == "custom"


def test_what_was_not_run_is_not_judged():
    judged = judge("be-exact", Evidence(not_run="2 of 3 runs are missing"))
    assert (judged.verdict, judged.reason, judged.parts) == ("not run", "2 of 3 runs are missing", ())


@pytest.mark.parametrize("parts", [{}, {"err": m(0)}, {"error": m(0), "slope": m(0)}])
def test_evidence_must_answer_to_the_rule(parts):
    with pytest.raises(InvalidInput, match=r"be-exact: its rule measures \['error'\], the evidence has"):
        judge("be-exact", Evidence(parts))


def test_a_claim_without_a_rule():
    with pytest.raises(InvalidInput, match="lm-none has no rule in book/claims.yaml: write one, and commit it before the runs"):
        judge("lm-none", Evidence({}))


def test_an_unknown_claim():
    with pytest.raises(NotFound, match=r"unknown claim 'be-exakt'. Did you mean 'be-exact'\?"):
        judge("be-exakt", Evidence({}))


@pytest.mark.parametrize("value", [np.float64(0.1), np.float32(0.1), np.int64(0)])
def test_verdicts_are_plain_json(value):
    """Also where evidence comes from numpy, whose truth values JSON does not take."""
    judged = judge("be-many", Evidence({"error": m(value), "slope": m(value, np.float32(-1), value)}), note="so")
    record = json.loads(json.dumps(judged._repr_mimebundle_()))[MIME]
    assert record["parts"][0]["met"] is True and math.isclose(record["parts"][1]["interval"][0], -1)
    assert record["verdict"] == "partly"


def test_where_the_runs_come_from():
    sources = (
        Sources(expected=5, origins={"computed": 2, "store": 3}, diverged=1),
        Sources(expected=2, origins={"results": 1, "results, of an older source": 1}),
    )
    judged = judge("be-exact", Evidence({"error": m(0)}, sources=sources))
    assert judged.runs == "5 runs of this source, 1 run committed, 1 run committed, of an older source, 1 diverged"
    assert judge("be-exact", Evidence({"error": m(0)})).runs == "computed on the page"


def test_the_card_shows_all_parts():
    measured = {"error": m(9.0), "slope": Measurement(-2.5e-7, (-3e-7, -2e-7), 4, "over <2> cells")}
    html = judge("be-many", Evidence(measured, data="digits & co"), note="It <script> is.")._repr_mimebundle_()["text/html"]
    assert 'id="claim-be-many"' in html and "sgd-partly" in html and "statement, Sec. 3" in html
    assert "at most 0.5" in html and "positive, 95% interval" in html and "argument shown" in html
    assert "−2.5 × 10<sup>−7</sup>" in html and "[−3 × 10<sup>−7</sup>, −2 × 10<sup>−7</sup>]" in html
    assert html.count('aria-label="not met"') == 2 and html.count('aria-label="met"') == 1
    assert "4 seeds · quick scale · computed on the page" in html
    assert 'class="sgd-claim sgd-is-partly"' in html and "positive, 95% interval" in html
    assert "ours, paper scale" in html and html.count("no run yet") == 3  # nothing is committed


def test_the_card_shows_both_scales(ledger, monkeypatch):
    monkeypatch.setenv("SGDSCOPE_SCALE", "paper")
    stored = judge("be-about", Evidence({"size": Measurement(11.0, (10.0, 12.0), 20)}))
    assert "ours, paper scale" in stored._repr_mimebundle_()["text/html"] and "no run yet" not in stored._repr_mimebundle_()["text/html"]
    scorecard.write_committed({"be-about": {**stored.as_dict(), "page": "break_even/01_model"}})
    monkeypatch.setenv("SGDSCOPE_SCALE", "quick")
    html = judge("be-about", Evidence({"size": Measurement(30.0, (28.0, 32.0), 3)}))._repr_mimebundle_()["text/html"]
    assert '<td data-label="ours, paper scale">11 <span class="sgd-interval">[10, 12], 20 seeds</span></td>' in html
    assert '<td data-label="ours, quick scale">30 <span class="sgd-interval">[28, 32], 3 seeds</span></td>' in html
    assert 'paper: 10 <span class="sgd-detail">within a factor of 2</span>' in html and "sgd-is-not-reproduced" in html


def test_names_of_printed_numbers_are_words_or_symbols():
    claim = Claim("gv-x", "gradient_variance", "Fig. 1", "figure", "It falls.", "x", {"h_s": 1000, "ratio_range": [0.1, 10]}, ())
    assert printed(claim) == "h<sub>s</sub>: 1000; ratio range: 0.1, 10"


def test_the_card_shows_what_the_paper_prints():
    html = judge("be-up", Evidence({"slope": Measurement(1.0, (0.5, 1.5), 3)}))._repr_mimebundle_()["text/html"]
    assert "<b>Printed:</b> slope: 2" in html
    assert "Printed" not in judge("be-exact", Evidence({"error": m(0)}))._repr_mimebundle_()["text/html"]


def test_the_card_escapes():
    html = judge("be-exact", Evidence({"error": Measurement(0, detail="<u>")}, data="<data>"), note="<script>")._repr_mimebundle_()[
        "text/html"
    ]
    for text in ("Exact <i>", "<u>", "<data>", "<script>"):
        assert text not in html
    assert "Exact &lt;i&gt;always" in html and "&lt;script&gt;" in html


def test_the_card_lists_changes_to_the_rule():
    html = judge("be-err-sign", Evidence(), note="so")._repr_mimebundle_()["text/html"]
    assert "Rule changed on 2025-01-02: tolerance &lt;b&gt; (rounding)" in html
    assert "Rule changed" not in judge("be-exact", Evidence({"error": m(0)}))._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (-0.0312, "−0.0312"),
        (123.4, "123"),
        (1234, "1.23 × 10<sup>3</sup>"),
        (2e-10, "2 × 10<sup>−10</sup>"),
        (NAN, "not a number"),
        (INF, "∞"),
        (-INF, "−∞"),
    ],
)
def test_numbers_for_people(value, text):
    from sgdscope.claims.card import number

    assert number(value) == text
