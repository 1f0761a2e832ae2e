"""Which metrics are shares."""

from __future__ import annotations

import re

from ssah_exp.evaluation.metric_names import TRAINED_SHARE, UNITS
from ssah_exp.evaluation.mt_bench.names import MT_COVERAGE
from ssah_exp.evaluation.probe.names import ENDED, REFUSED, SAME_TOKEN

# By the first part of a name. The rate of one score (``score5``) is a share, a mean score is not.
_SHARES = re.compile(
    r"(asr|benign_refusal|borderline_refusal|coverage|empty|utility|\w+_looping|score\d+"
    rf"|{REFUSED}|{ENDED}|{SAME_TOKEN})/.+"
    rf"|{MT_COVERAGE}|{TRAINED_SHARE}|{UNITS}"
)


def is_share(metric: str) -> bool:
    """Whether a metric is a share, shown in percent."""
    return _SHARES.fullmatch(metric) is not None
