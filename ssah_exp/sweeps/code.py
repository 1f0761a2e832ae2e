"""Whether the code a worker runs is the code a sweep was submitted with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ssah_exp.errors import StoreError
from ssah_exp.records.provenance import code_version

CHECKS = ("refuse", "warn")


def code_state() -> dict[str, Any]:
    """Version, commit, whether it was edited since, and a digest of this package's Python files.

    The digest decides: it sees edits that are not committed, and needs no repository.
    """
    return {**code_version(), "digest": _digest()}


def _digest() -> str:
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def check_code(submitted: dict[str, Any], check: str) -> str | None:
    """Refuse code other than at submission, or say in one line how it differs; None = it does not.

    Args:
        submitted: A :func:`code_state`.
        check: ``refuse`` or ``warn``.

    Raises:
        StoreError: The code differs, and ``check`` says ``refuse``.
    """
    if _digest() == submitted["digest"]:  # before git is asked, which takes longer
        return None
    change = (
        f"the code changed since the sweep was submitted: {_describe(submitted)}, "
        f"now {_describe(code_state())}"
    )
    if check == "refuse":
        raise StoreError(
            f"Not run: {change}. Restore the code as it was submitted, or run with the present "
            "code: ssah-exp retry-failed SWEEP --take-code (SWEEP: name of this sweep)"
        )
    return change


def _describe(code: dict[str, Any]) -> str:
    commit = (code["commit"] or code["version"])[:12]
    edited = ", edited" if code["dirty"] else ""
    return f"{commit}{edited} ({code['digest'][:8]})"
