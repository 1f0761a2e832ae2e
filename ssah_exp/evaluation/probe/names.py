"""Names of what the probe measures, as they stand in records. Nothing heavy is imported here."""

from __future__ import annotations

# Kinds of openings, and what each side of a comparison is called.
BENIGN, MALICIOUS = "benign", "malicious"
KINDS = (BENIGN, MALICIOUS)
SIDES = (*KINDS, f"null_{BENIGN}", f"null_{MALICIOUS}")
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


def step_name(form: str, step: int, what: str) -> str:
    """``cosine/raw/k4/benign``: a curve, and its mean over blocks among the metrics.

    Args:
        form: ``cosine/raw``, or a rate.
        step: Generated tokens.
        what: A side, a difference or a gap.
    """
    return f"{form}/k{step}/{what}"
