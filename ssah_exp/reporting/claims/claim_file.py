"""Claims as data: a YAML file that says what would support each claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ssah_exp.config.artefacts import ARTEFACTS
from ssah_exp.config.bounded_yaml import read_bounded
from ssah_exp.config.ranges import choice, refuse
from ssah_exp.config.schema_keys import unknown_key
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.evaluation.metric_names import PERPLEXITY, TRAIN_LOSS
from ssah_exp.evaluation.shares import is_share

HIGHER, LOWER, SAME, NO_HIGHER, NO_LOWER = DIRECTIONS = (
    "higher", "lower", "same", "no_higher", "no_lower",
)  # fmt: skip
WITHIN = (SAME, NO_HIGHER, NO_LOWER)  # of the margin, tested against it; others against 0
_LOSSES = (PERPLEXITY, TRAIN_LOSS)  # compared in nats per token


@dataclass(frozen=True)
class Prediction:
    """One comparison that a claim stands or falls with.

    Attributes:
        shows: What the claim says of ``arm - against``: ``higher``, ``lower``, ``same``, or
            ``no_higher`` or ``no_lower`` by the margin.
        arm: Label of an arm as ``ssah-exp compare`` prints it, or a column of ``csv``.
        against: Likewise; None compares with zero.
        metric: As in the record; a name for the column where ``csv`` is given.
        margin: Smallest difference that matters, in the metric's unit; for perplexity in nats per
            token. None = the file's.
        csv: A file beside the claims, read instead of records; it has one row per ``seed``.
    """

    shows: str
    arm: str
    against: str | None = None
    metric: str = ""
    margin: float | None = None
    csv: str | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the tests that all have to hold for it.

    Attributes:
        claim: The sentence.
        source: Table or figure.
        tests: At least one.
        artefact: Whose records; "" where every test has a csv.
        where: Dotted config key -> value: which runs of that artefact. A list fits a value that
            equals it or is one of its items.
    """

    claim: str
    source: str
    tests: tuple[Prediction, ...]
    artefact: str
    where: Mapping[str, Any]


@dataclass(frozen=True)
class ClaimFile:
    """All claims of one family: Holm's adjustment is over the claims.

    Attributes:
        claims: In order.
        alpha: Level of the whole family.
        rate_margin: Smallest difference of rates that matters, e.g. 0.05 for five points.
        loss_margin: The same for perplexity and training loss, in nats per token.
        folder: Where the file lies.
    """

    claims: tuple[Claim, ...]
    alpha: float
    rate_margin: float
    loss_margin: float
    folder: Path

    def margin(self, test: Prediction) -> float:
        """The margin of a test, in the unit of its difference."""
        if test.margin is not None:
            return test.margin
        return self.loss_margin if test.metric in _LOSSES else self.rate_margin


def read_claims(path: Path) -> ClaimFile:
    """Read and check a file of claims.

    Raises:
        ConfigError: Not readable, unknown keys, a claim without tests, values out of range.
    """
    content = read_bounded(path, yaml.safe_load)
    given = _mapping(content, str(path), {"alpha", "rate_margin", "loss_margin", "claims"})
    claims = given.get("claims")
    if not isinstance(claims, list) or not claims:
        raise ConfigError(f"{path}: 'claims' must be a list with at least one claim.")
    return ClaimFile(
        claims=tuple(_claim(item, f"{path}: claim {at}") for at, item in enumerate(claims, 1)),
        alpha=_share(given.get("alpha", 0.05), f"{path}: alpha"),
        rate_margin=_share(given.get("rate_margin", 0.05), f"{path}: rate_margin"),
        loss_margin=_positive(given.get("loss_margin", 0.05), f"{path}: loss_margin"),
        folder=path.parent,
    )


def _claim(content: Any, where: str) -> Claim:
    given = _mapping(content, where, {item.name for item in fields(Claim)})
    tests = given.get("tests")
    if not given.get("claim") or not isinstance(tests, list) or not tests:
        raise ConfigError(f"{where} needs a 'claim' and at least one of 'tests'.")
    made = tuple(_test(item, f"{where}, test {at}") for at, item in enumerate(tests, 1))
    artefact = str(given.get("artefact", ""))
    if not artefact and any(test.csv is None for test in made):
        raise ConfigError(f"{where} needs an 'artefact', or a 'csv' in every test.")
    wanted = given.get("where", {})
    if not isinstance(wanted, dict):
        raise ConfigError(f"{where}: 'where' must map config keys to values.")
    if artefact:
        refuse(choice(f"{where}: artefact", artefact, ARTEFACTS))
    unknown = filter(None, (unknown_key(str(key)) for key in wanted))
    refuse(f"{where}: 'where' has unknown key {key}" for key in unknown)
    return Claim(str(given["claim"]), str(given.get("source", "")), made, artefact, wanted)


def _test(content: Any, where: str) -> Prediction:
    given = _mapping(content, where, {item.name for item in fields(Prediction)})
    if given.get("shows") not in DIRECTIONS:
        allowed = ", ".join(DIRECTIONS)
        raise ConfigError(f"{where}: 'shows' is {given.get('shows')}. Allowed: {allowed}.")
    if not given.get("arm") or not (given.get("metric") or given.get("csv")):
        raise ConfigError(f"{where} needs an 'arm', and a 'metric' or a 'csv'.")
    for key in ("arm", "against", "metric", "csv"):
        if not isinstance(given.get(key, ""), str | None):
            raise ConfigError(f"{where}: '{key}' is {given[key]!r}; it must be text.")
    if given["arm"] == given.get("against"):  # no difference, whatever was measured
        raise ConfigError(f"{where}: 'arm' and 'against' are both {given['arm']}; name two arms.")
    _check_margin(given, where)
    return Prediction(**given)


def _check_margin(given: dict[str, Any], where: str) -> None:
    """Check a test's margin: for rates it is a share; a metric with a unit of its own needs one."""
    metric = str(given.get("metric"))
    a_rate = not given.get("csv") and is_share(metric)
    if given.get("margin") is not None:
        (_share if a_rate else _positive)(given["margin"], f"{where}: margin")
    elif not (a_rate or given.get("csv") or metric in _LOSSES):
        raise ConfigError(
            f"{where}: '{metric}' is neither a rate nor a loss; give the 'margin' that matters, in "
            "its own unit."
        )


def _mapping(content: Any, where: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must be a mapping.")
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: unknown key '{key}'.{did_you_mean(str(key), known)}")
    return content


def _positive(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{where} is {value}; it must be a number above 0.")
    return float(value)


def _share(value: Any, where: str) -> float:
    if _positive(value, where) >= 1:
        raise ConfigError(f"{where} is {value}; it must lie between 0 and 1.")
    return float(value)
