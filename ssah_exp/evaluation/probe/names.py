"""Names of what the probe measures, as they stand in records. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

# Kinds of openings and their random twins: what each side of a comparison is called.
BENIGN, MALICIOUS = "benign", "malicious"
NULL_BENIGN, NULL_MALICIOUS = f"null_{BENIGN}", f"null_{MALICIOUS}"
KINDS = (BENIGN, MALICIOUS)
SIDES = (*KINDS, NULL_BENIGN, NULL_MALICIOUS)
# Forms of a distance.
RAW, CONTENT_FREE = "raw", "content_free"
# Curves per form and step, beside those of the sides.
DIFFERENCE, NULL_DIFFERENCE = "difference", "null_difference"
GAP, NULL_GAP = "gap", "null_gap"
# Curves of the linear probe.
AUC_ALL, AUC_BORDERLINE, AUC_SHUFFLED = "auc/harmless", "auc/borderline", "auc/shuffled"
# Rates.
REFUSED, ENDED, SAME_TOKEN = "refused", "ended", "same_token"


def variants(distance: str) -> tuple[str, ...]:
    """The variants a distance has.

    ``content_free`` subtracts one and the same vector from both states, which leaves their
    difference, and so ``l2``, as it was.
    """
    return (RAW,) if distance == "l2" else (RAW, CONTENT_FREE)


def forms(distances: Iterable[str]) -> list[str]:
    """Every distance in every variant: ``cosine/raw``, ``cosine/content_free``, ..."""
    return [f"{name}/{variant}" for name in distances for variant in variants(name)]


def step_name(form: str, step: int, what: str) -> str:
    """``cosine/raw/k4/benign``: a curve, and its mean over blocks among the metrics.

    Args:
        form: ``cosine/raw``, or a rate.
        step: Generated tokens.
        what: A side, a difference or a gap.
    """
    return f"{form}/k{step}/{what}"
