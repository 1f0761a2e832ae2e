"""What the records hold for a test: one difference per seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from ssah_exp.config.artefacts import PROBE
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.evaluation.intervals import Resampling, alike
from ssah_exp.evaluation.judges.label_file import as_text
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.evaluation.paired import Margins, Paired
from ssah_exp.records.dotted import at, dotted
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.arm_groups import Group, groups_of
from ssah_exp.reporting.claims.claim_file import Claim, ClaimFile, Prediction
from ssah_exp.reporting.claims.over_prompts import OverPrompts, over_prompts
from ssah_exp.reporting.compare.arms import paired_over_prompts, printed_value
from ssah_exp.reporting.compare.metrics import Metric, metrics_of
from ssah_exp.reporting.compare.on_prompts import on_prompts
from ssah_exp.reporting.notes.coverage import coverage_note
from ssah_exp.reporting.settings import settings_of, told_apart, unlike_judge, unlike_judges


@dataclass(frozen=True)
class Evidence:
    """Arm minus reference.

    Attributes:
        by_seed: Seed -> difference of the printed values, for perplexity of their logarithms:
            infinite where one overflowed, NaN where both did. A seed in which either value is a gap
            is left out.
        paired: Over the prompts or windows of all seeds, where the seeds do not vary
            (:attr:`alike`); None otherwise, or without outcomes.
        over_prompts: With seeds averaged prompt by prompt, if every seed put the same prompts and
            seeds vary; None otherwise, or without outcomes.
        lacking: Why runs that fit the claim are no evidence: several settings fit, and nobody said
            which is meant, seeds had other judges of one name, or they have no such arm or metric.
            "" = nothing is lacking.
        unscored: How many answers the test's judge left unscored. "" = none.
    """

    by_seed: dict[int, float]
    paired: Paired | None = None
    over_prompts: OverPrompts | None = None
    lacking: str = ""
    unscored: str = ""

    @property
    def alike(self) -> bool:
        """Whether there is no variation over seeds to test by, rounding aside."""
        return alike(list(self.by_seed.values()))


def gather(
    claims: ClaimFile, claim: Claim, records: Sequence[RunRecord], *, records_only: bool = False
) -> list[Evidence]:
    """Evidence for every test of a claim; empty ``by_seed`` where nothing was run.

    Args:
        claims: The file the claim is from.
        claim: The claim.
        records: Finished runs.
        records_only: Leave tests on a csv without evidence: the file lies beside the claims and
            is not made of these records.

    Raises:
        ConfigError: A csv cannot be read, or is not as a test says.
    """
    settings = _settings(claim, records) if claim.artefact else []
    found: list[Evidence] = []
    for test in claim.tests:
        if test.csv is not None:
            path = claims.folder / test.csv
            found.append(Evidence({}) if records_only else _from_csv(path, test))
        elif len(settings) > 1:
            found.append(Evidence({}, lacking=_several(claim, settings)))
        else:
            found.append(_from_records(claims, test, settings[0] if settings else []))
    return found


def _settings(claim: Claim, records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    fitting = [
        record
        for record in records
        if record.artefact == claim.artefact
        and all(_fits(at(record.config, key), value) for key, value in claim.where.items())
    ]
    return settings_of(fitting)


def _fits(found: object, wanted: object) -> bool:
    return found == wanted or (isinstance(wanted, list) and found in wanted)


def _several(claim: Claim, settings: Sequence[Sequence[RunRecord]]) -> str:
    configs = [dict(dotted(runs[0].config)) for runs in settings]
    keys = sorted({key for config in configs for key in config} - {"seed"})
    apart = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    apart += [f"the files of {name}" for name in dict.fromkeys(chain(*told_apart(settings)))]
    return (
        f"several settings of {claim.artefact} fit, which differ in {', '.join(apart[:6])}; give "
        "records of one of them."
    )


def _from_records(claims: ClaimFile, test: Prediction, records: Sequence[RunRecord]) -> Evidence:
    judge = test.metric.split("/")[-1]  # of other metrics this is no judge's name
    if keys := unlike_judges(records).get(judge):
        unlike = unlike_judge(judge, keys, records)
        return Evidence({}, lacking=f"{unlike}; ask one judge of all.")
    unscored = coverage_note(records, judge) or ""
    return replace(_found(claims, test, records), unscored=unscored)


def _found(claims: ClaimFile, test: Prediction, records: Sequence[RunRecord]) -> Evidence:
    if not records:
        return Evidence({})
    groups = {group.label: group for group in groups_of(records)}
    for label in (test.arm, test.against):
        if label is not None and label not in groups:
            hint = did_you_mean(label, groups)
            return Evidence({}, lacking=f"the records have no arm '{label}'.{hint}")
    arm = groups[test.arm]
    against = None if test.against is None else groups[test.against]
    by_seed = _differences(arm, against, test.metric)
    if not by_seed:
        return Evidence({}, lacking=_without(test.metric, arm, against))
    metric = None if against is None else _metric(test, records)
    if against is None or metric is None:
        return Evidence(by_seed)
    if Evidence(by_seed).alike:
        return Evidence(by_seed, _paired(claims, test, arm, against, metric, by_seed, records))
    values = on_prompts(arm, against, metric, list(by_seed), records)
    if values is None or not values.same:
        return Evidence(by_seed)
    margin, confidence = claims.margin(test), 1 - claims.alpha
    return Evidence(
        by_seed, over_prompts=over_prompts(values, metric, test.shows, margin, confidence)
    )


def _differences(arm: Group, against: Group | None, metric: str) -> dict[int, float]:
    """Seed -> difference, as :attr:`Evidence.by_seed`; ``against`` None: from zero."""
    found: dict[int, float] = {}
    for seed, arms in arm.by_seed.items():
        own = printed_value(arms, metric)
        beside = [] if against is None else against.by_seed.get(seed, [])
        other = 0.0 if against is None else printed_value(beside, metric)
        # A perplexity that overflowed stays: without its worst seed a test would flatter the arm.
        # A seed in which both overflowed stays, too, though their difference is unknown.
        if own is not None and other is not None:
            found[seed] = own - other
    return found


def _without(metric: str, arm: Group, against: Group | None) -> str:
    """Why no seed gives a difference: which arm was never measured so, or that no seed has both."""
    for group in (arm, against):
        if group is not None and not _differences(group, None, metric):
            names = [name for run in group.arms for name in run.metrics]
            # Of an arm whose answers all went unscored the name is right, and only values lack.
            hint = "" if metric in names else did_you_mean(metric, names)
            return f"the records have no {metric} of {group.label}.{hint}"
    return f"no seed has {metric} of both arms."


def _metric(test: Prediction, records: Sequence[RunRecord]) -> Metric | None:
    """How the test's metric is compared over prompts; None where no outcomes of single ones exist.

    The probe keeps none.
    """
    if records[0].artefact == PROBE:
        return None
    judge = test.metric.rpartition("/")[2]
    judge = records[0].config["evaluation"]["primary_judge"] if judge == PERPLEXITY else judge
    return next((item for item in metrics_of(records, judge) if item.name == test.metric), None)


def _paired(
    claims: ClaimFile,
    test: Prediction,
    arm: Group,
    against: Group,
    metric: Metric,
    seeds: Iterable[int],
    records: Sequence[RunRecord],
) -> Paired | None:
    margin = claims.margin(test)
    margins = Margins(rate=margin, loss=margin, score=margin / metric.span)
    resampling = Resampling(1 - claims.alpha)
    return paired_over_prompts(arm, against, metric, list(seeds), records, resampling, margins)


def _from_csv(path: Path, test: Prediction) -> Evidence:
    if not path.is_file():
        return Evidence({})
    arms = [test.arm] if test.against is None else [test.arm, test.against]
    frame = _read_csv(path, ["seed", *arms])
    frame = frame.astype(dict.fromkeys(arms, "float64"))  # true and false have no difference
    if test.metric == PERPLEXITY:
        if (frame[arms] <= 0).any(axis=None):
            raise ConfigError(f"{path}: a perplexity is above 0.")
        frame[arms] = np.log(frame[arms])
    values = frame[test.arm] - (0.0 if test.against is None else frame[test.against])
    if frame["seed"].duplicated().any():
        raise ConfigError(f"{path} has more than one row of a seed; give one row per seed.")
    there = values.notna()
    seeds = frame["seed"][there].astype(int)
    return Evidence(dict(zip(seeds.tolist(), values[there].astype(float).tolist(), strict=True)))


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The file's columns of numbers; a blank is a gap, but every row has a whole seed."""
    try:
        frame = pd.read_csv(path).rename(columns=as_text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for column in columns:
        if column not in frame.columns:
            raise ConfigError(
                f"{path} has no column '{column}'.{did_you_mean(column, frame.columns)}"
            )
        if len(frame) and not pd.api.types.is_numeric_dtype(frame[column]):
            raise ConfigError(f"{path}: column '{column}' holds something that is no number.")
    if frame["seed"].isna().any():
        raise ConfigError(f"{path} has a row without a seed.")
    if (frame["seed"] % 1 != 0).any():  # cut to whole ones, two rows would become one seed's
        raise ConfigError(f"{path} has a seed that is no whole number.")
    return frame
