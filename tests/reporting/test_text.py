"""How numbers are written: which are shares, and with what digits."""

from __future__ import annotations

import pytest

from ssah_exp.evaluation.shares import is_share
from ssah_exp.reporting.text import scale_of, value_text


@pytest.mark.parametrize(
    ("metric", "share"),
    [
        ("asr/raw/zou2023", True),
        ("refused/wei2024", True),
        ("ended/3/bare", True),
        ("same_token/3/bare", True),
        ("mt_bench/coverage", True),
        ("trained_share", True),
        ("mt_bench/mean", False),
        ("score/raw/guard", False),
        ("train_loss", False),
        ("cosine/raw/k4/benign", False),
        ("watched/losses/range", False),
    ],
)
def test_a_share_is_what_tables_show_in_percent(metric: str, share: bool) -> None:
    assert is_share(metric) is share
    assert scale_of(metric) == (100 if share else 1)


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("asr/raw/zou2023", 0.0123, "1.2"),
        ("perplexity", 31.8256, "31.8"),
        ("score/raw/guard", 2.345, "2.3"),
        ("cosine/raw/k4/benign", 0.0123, "0.0123"),
        ("watched/losses/range", 1234.5, "1.23e+03"),
    ],
)
def test_what_is_no_share_keeps_its_size(metric: str, value: float, shown: str) -> None:
    """Cosines and what callbacks watch were shown a hundredfold on the report's page."""
    assert value_text(value, metric) == shown
