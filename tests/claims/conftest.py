"""A small ledger in place of the real one, with a rule of every kind."""

import pytest

from sgdscope.claims.ledger import load_ledger

LEDGER = """
break_even:
  - {id: be-exact, where: "Eq. 1", kind: theorem, says: "Exact <i>always</i>.", show: x,
     rule: [{part: error, kind: identity, tolerance: 0.5, measures: "the error"}]}
  - {id: be-up, where: "Fig. 1", kind: figure, says: "It rises.", show: x, values: {slope: 2},
     rule: [{part: slope, kind: direction, sign: positive, measures: "the slope"}]}
  - {id: be-down, where: "Fig. 2", kind: figure, says: "It falls.", show: x,
     rule: [{part: slope, kind: direction, sign: negative, measures: "the slope"}]}
  - {id: be-about, where: "Tab. 1", kind: table, says: "About 10.", show: x,
     rule: [{part: size, kind: value, paper: 10, factor: 2, measures: "the size"}]}
  - {id: be-inside, where: "Tab. 2", kind: table, says: "10.", show: x,
     rule: [{part: size, kind: value, paper: 10, measures: "the size"}]}
  - {id: be-err-sign, where: "Eq. 2", kind: erratum, says: "A sign.", show: x,
     rule: [{part: argument, kind: note, measures: "the argument"}],
     changed: [{date: 2025-01-02, what: "tolerance <b>", why: "rounding"}]}
  - {id: be-many, where: "Sec. 3", kind: statement, says: "All of it.", show: x,
     rule: [{part: error, kind: identity, tolerance: 0.5, measures: "the error"},
            {part: slope, kind: direction, sign: positive, measures: "the slope"},
            {part: argument, kind: note, measures: "the argument"}]}
luck_matters:
  - {id: lm-none, where: "Sec. 1", kind: statement, says: "No page yet.", show: x}
"""


@pytest.fixture
def ledger(checkout, monkeypatch):
    (checkout / "book" / "claims.yaml").write_text(LEDGER)
    monkeypatch.setenv("SGDSCOPE_SCALE", "quick")
    load_ledger.cache_clear()
    yield checkout
    load_ledger.cache_clear()
