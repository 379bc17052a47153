"""Claims: the ledger, evidence, verdicts and the scorecard."""

from sgdscope.claims.evidence import Evidence, Measurement, estimate, estimated, evidence, incomplete, named, paired
from sgdscope.claims.judge import Verdict, judge
from sgdscope.claims.ledger import Claim, load_ledger

__all__ = [
    "Claim", "Evidence", "Measurement", "Verdict", "estimate", "estimated", "evidence", "incomplete", "judge", "load_ledger", "named", "paired",
]  # fmt: skip
