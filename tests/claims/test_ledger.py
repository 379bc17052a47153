"""The ledger: complete, and refused where an entry cannot be judged."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sgdscope import paths
from sgdscope.claims import load_ledger
from sgdscope.claims.ledger import KINDS, Part, claim_of
from sgdscope.errors import InvalidInput, NotFound

PREFIX = {"gradient_variance": "gv-", "gradient_structure": "os-", "luck_matters": "lm-", "break_even": "be-", "synthesis": "sy-"}


def test_all_153_claims_are_there():
    """Counted from the text of the file, section by section."""
    text = (paths.repository() / "book" / "claims.yaml").read_text(encoding="utf-8")
    sections = re.split(r"^([a-z_]+):", text, flags=re.MULTILINE)[1:]
    listed = {
        paper: re.findall(r"^  - \{?id: ([^,\s]+)", body, flags=re.MULTILINE)
        for paper, body in zip(sections[::2], sections[1::2], strict=True)
    }
    ledger = load_ledger()
    assert list(ledger) == [claim for claims in listed.values() for claim in claims]
    assert Counter(claim.paper for claim in ledger.values()) == {paper: len(claims) for paper, claims in listed.items()}
    assert len(ledger) == 153
    assert all(claim.id == name and claim.kind in KINDS and claim.says and claim.where and claim.show for name, claim in ledger.items())


def test_ids_carry_their_paper_and_can_be_found_in_a_page():
    for claim in load_ledger().values():
        assert claim.id.startswith(PREFIX[claim.paper]), claim.id
        assert re.fullmatch(r"[a-z0-9.-]+", claim.id), claim.id


def test_a_rule_of_the_real_ledger():
    parts = {part.name: part for part in claim_of("be-thm-1").rule}
    assert parts["full_batch"] == Part("full_batch", "value", parts["full_batch"].measures, paper=1.0, factor=1.1)
    assert parts["simulated_rate"].sign == "positive"


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(NotFound, match=r"unknown claim 'be-thm-11'. Did you mean 'be-thm-1'\? Valid: .*be-eq-1"):
        claim_of("be-thm-11")


GOOD = {"id": "a-1", "where": "Sec. 1", "kind": "statement", "says": "It holds.", "show": "that it does"}


@pytest.fixture
def written(tmp_path):
    def write(*entries):
        import yaml

        file = Path(tmp_path / "claims.yaml")
        file.write_text(yaml.safe_dump({"paper": list(entries)}))
        return load_ledger(file)

    return write


def rule(**fields):
    return {**GOOD, "rule": [{"part": "p", "measures": "it", **fields}]}


def test_an_entry_without_a_rule_has_no_page_yet(written):
    assert written(GOOD)["a-1"].rule == ()


@pytest.mark.parametrize("field", GOOD)
def test_a_lacking_field(written, field):
    with pytest.raises(InvalidInput, match=f"lacks '{field}'"):
        written({name: value for name, value in GOOD.items() if name != field})


def test_an_id_twice(written):
    with pytest.raises(InvalidInput, match=r"claims.yaml: the id 'a-1' stands there twice"):
        written(GOOD, GOOD)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**GOOD, "kind": "rumour"}, "a-1: kind 'rumour' is none of figure, table, theorem, statement, erratum"),
        (rule(kind="opinion"), "a-1: rule kind 'opinion' is none of identity, direction, value, note"),
        (rule(), "a-1: rule kind None is none of"),
        (rule(kind="identity"), r"a-1, part 'p': identity takes \['tolerance'\], got \[\]"),
        (rule(kind="identity", tolerance=0.1, sign="positive"), r"identity takes \['tolerance'\], got \['sign', 'tolerance'\]"),
        (rule(kind="direction", sign="up"), "a-1, part 'p': sign is positive or negative, got 'up'"),
        (rule(kind="value", factor=2), r"value takes \['factor', 'paper'\], got \['factor'\]"),
        (rule(kind="value", paper=1.0, factor=0.5), "a factor is at least 1 and needs a positive number of the paper"),
        (rule(kind="value", paper=-1.0, factor=2), "a factor is at least 1 and needs a positive number of the paper"),
        (
            rule(kind="identity", tolerance="1e-9"),
            r"tolerance must be a number, got '1e-9' \(YAML takes 1e-9 for text, 1.0e-9 for a number\)",
        ),
        (rule(kind="value", paper=True), "paper must be a number, got True"),
        (rule(kind="note", tolerance=1), r"note takes \[\], got \['tolerance'\]"),
        ({**GOOD, "rule": [{"part": "p", "kind": "note"}]}, "'a-1' lacks 'measures'"),
        ({**GOOD, "rule": [{"kind": "note", "measures": "it"}]}, "'a-1' lacks 'part'"),
        ({**GOOD, "rule": 2 * [{"part": "p", "kind": "note", "measures": "it"}]}, "a-1: two parts of its rule have one name"),
        ({**GOOD, "changed": [{"date": "2025-01-01", "what": "x"}]}, "a-1: a change to its rule says date, what and why"),
    ],
)
def test_entries_that_cannot_be_judged(written, entry, message):
    with pytest.raises(InvalidInput, match=message):
        written(entry)
