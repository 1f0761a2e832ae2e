"""Which answers judges left unscored: they count in no rate, so a table must name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssah_exp.evaluation.attack_metrics import ATTEMPT
from ssah_exp.evaluation.mt_bench.names import MT_COVERAGE
from ssah_exp.records.record import INCOMPLETE, RunRecord
from ssah_exp.reporting.arm_groups import Group, groups_of


def partial_coverage(records: Sequence[RunRecord]) -> list[str]:
    """Metrics of coverage that are below 1 in any arm, sorted; nothing where all was scored."""
    found = {
        name
        for record in records
        for arm in record.arms
        for name, item in arm.metrics.items()
        if _is_coverage(name) and item.value is not None and item.value < 1
    }
    return sorted(found)


def _is_coverage(metric: str) -> bool:
    return metric.startswith("coverage/") or metric == MT_COVERAGE


def coverage_note(records: Sequence[RunRecord], judge: str | None = None) -> str | None:
    """A footnote of scored and asked answers, summed over seeds and draws; None = all were scored.

    Single attempts of an attack are left out, since they have no columns either.

    Args:
        records: One setting.
        judge: Only of what this one scored; None = of all.
    """
    names = [name for name in partial_coverage(records) if ATTEMPT not in name]
    incomplete = [record.run_id for record in records if record.status == INCOMPLETE]
    asked_later = _failed_later(records)
    if judge is not None:
        names = [name for name in names if name.split("/")[-1] == judge]
        incomplete = incomplete if names else []
        asked_later = {name: runs for name, runs in asked_later.items() if name == judge}
    if not names and not incomplete and not asked_later:
        return None
    groups = groups_of(records)
    parts = [f"{_title(name)}: {', '.join(_counts(groups, name))}" for name in names]
    listed = f"Unscored answers count in no number; scored of asked, {'; '.join(parts)}."
    sentences = [listed] if parts else []
    if incomplete:
        sentences.append(
            f"Incomplete, because a judge failed: {', '.join(incomplete)}; the same command asks "
            "again."
        )
    for judge, runs in asked_later.items():
        sentences.append(
            f"{judge}, asked after the runs, failed on answers of {', '.join(runs)}; 'ssah-exp "
            "judges run' asks again."
        )
    return " ".join(sentences)


def _failed_later(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Judge that was asked after the run -> runs that it failed on."""
    found: dict[str, list[str]] = {}
    for record in records:
        for judge in record.unanswered():
            if judge in record.later:
                found.setdefault(judge, []).append(record.run_id)
    return found


def _counts(groups: Sequence[Group], metric: str) -> Iterator[str]:
    """``aligned 50 of 330`` for every arm of which not all was scored."""
    for group in groups:
        found = [arm.metrics[metric] for arm in group.arms if metric in arm.metrics]
        asked = sum(item.n for item in found)
        scored = sum(round((item.value or 0.0) * item.n) for item in found)
        if scored < asked:
            yield f"{group.label} {scored} of {asked}"


def _title(metric: str) -> str:
    """Judge and style, the latter as metrics name it."""
    if metric == MT_COVERAGE:
        return "MT-bench"
    _, style, judge = metric.split("/", 2)
    return f"{judge} ({style})"
