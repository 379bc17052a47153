"""Plain text of the ledger as HTML for people."""

import re

import pytest

from sgdscope import paths
from sgdscope.claims.ledger import load_ledger
from sgdscope.claims.words import prose


@pytest.mark.parametrize(
    ("plain", "html"),
    [
        ("at most 1e-10", "at most 10<sup>−10</sup>"),
        ("at most 2.5e-07", "at most 2.5 × 10<sup>−7</sup>"),
        ("(1 - eta H_B)^2", "(1 − η H<sub>B</sub>)<sup>2</sup>"),
        ("lambda_K*/lambda_K^1", "λ<sub>K</sub>*/λ<sub>K</sub><sup>1</sup>"),
        ("N^-2 sum_k N_k^2", "N<sup>−2</sup> Σ<sub>k</sub> N<sub>k</sub><sup>2</sup>"),
        ("a sum of squares", "a sum of squares"),
        ("x <= 1 -> y", "x ≤ 1 → y"),
        ("be-eta-1 and be-err-psi", "be-eta-1 and be-err-psi"),
        ("fashion_mnist_small, log_T, iteration_d_ks", "fashion_mnist_small, log_T, iteration_d_ks"),
        ("beta-like, metal, Lambda", "beta-like, metal, Lambda"),
        ("<script>alert('g_i')</script>", "&lt;script&gt;alert('g<sub>i</sub>')&lt;/script&gt;"),
        ("release 2e5x", "release 2e5x"),
    ],
)
def test_prose(plain, html):
    assert prose(plain) == html


def test_nothing_but_letters_changes_in_our_ledger():
    """Tags balance, and what is left without them is the ledger's own words."""
    for claim in load_ledger(paths.repository() / "book" / "claims.yaml").values():
        html = prose(claim.says)
        assert re.findall(r"<(?!/?su[bp]>)", html) == []
        assert html.count("<sub>") == html.count("</sub>") and html.count("<sup>") == html.count("</sup>")
        assert len(re.findall(r"[A-Za-z]{4,}", re.sub(r"<[^>]+>", " ", html))) >= len(
            re.findall(r"[A-Za-z]{7,}", claim.says)
        ) - claim.says.count("epsilon")
