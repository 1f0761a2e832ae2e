"""What metrics are called in records."""

from __future__ import annotations

PERPLEXITY = "perplexity"
# Of a fine-tuning: loss on a fixed sample of its examples, passes over them, and the share of all
# weights that it may change: for a merged LoRA its projections, for an attached adapter its own.
TRAIN_LOSS, EPOCHS, TRAINED_SHARE = "train_loss", "epochs", "trained_share"
# Of an arm, beside its metrics: the pruned share of all units.
UNITS = "units_pct"
# What numbers of the user's callbacks begin with.
WATCHED = "watched"

MEAN = "mean"  # in place of a style: the mean over all styles


def watched_name(callback: str, name: str) -> str:
    """Metric name of a number that one of the user's callbacks reports on a training."""
    return f"{WATCHED}/{callback}/{name}"


def asr_name(style: str, judge: str) -> str:
    """Metric name of an attack success rate."""
    return f"asr/{style}/{judge}"


def refusal_name(which: str, style: str, judge: str) -> str:
    """Metric name of a refusal rate on ``benign`` or ``borderline`` requests."""
    return f"{which}_refusal/{style}/{judge}"


def score_name(style: str, judge: str, at: int | None = None) -> str:
    """Metric name of a mean score, or of the rate of one score."""
    return f"score{'' if at is None else at}/{style}/{judge}"


def coverage_name(style: str, judge: str) -> str:
    """Metric name of the share of answers a judge scored."""
    return f"coverage/{style}/{judge}"


def empty_name(style: str) -> str:
    """Metric name of the share of harmful requests that were answered with no text at all."""
    return f"empty/{style}"


def looping_name(which: str, style: str) -> str:
    """Metric name of the share of answers that loop, of one set of requests."""
    return f"{which}_looping/{style}"
