"""`ssah-exp judges sheet`: answers for people to read, without the arms that gave them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.data.files import kind_of
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.evaluation.judges.label_file import LABEL
from ssah_exp.evaluation.questions import Completion
from ssah_exp.evaluation.raters.sheet import Draw, draw_sheet, sheet_text
from ssah_exp.pipeline.rejudging import stored_answers
from ssah_exp.records.store import read_run
from ssah_exp.storage import write_atomically


def execute(options: argparse.Namespace) -> int:
    """Write the sheet; one that is there may hold somebody's labels and is left alone.

    Raises:
        ConfigError: The file exists or is no .csv, an unknown arm, a run named twice, fewer than
            one request, or a negative seed.
        StoreError: A run without its completions, or the disk will not take the sheet.
    """
    out = Path(options.out)
    if kind_of(out) != ".csv":
        raise ConfigError(f"--out={out} is no .csv.")
    if os.path.lexists(out):
        raise ConfigError(f"{out} is there already, perhaps with labels; name another --out.")
    refuse([*at_least("--requests", options.requests, 1), *at_least("--seed", options.seed, 0)])
    runs = _answers(options.runs, options.arms)
    pairs = draw_sheet(runs, Draw(options.requests, options.seed))
    write_atomically(out, sheet_text(pairs))
    print(f"wrote {out}: {len(pairs)} different answers of {len(runs)} run(s)")
    print(f"fill in {LABEL}, then: ssah-exp judges run RUN --judges labels --set labels.path={out}")
    return 0


def _answers(
    folders: Sequence[str], arms: str | None
) -> Mapping[str, Mapping[str, Sequence[Completion]]]:
    """Run id -> arm -> its completions, for the arms that were asked for."""
    found: dict[str, Mapping[str, Sequence[Completion]]] = {}
    for given in folders:
        folder = Path(given)
        record = read_run(folder)
        if record.run_id in found:
            raise ConfigError(f"{folder}: run {record.run_id} is named twice.")
        answers = stored_answers(record, folder)
        chosen = list(answers) if arms is None else arms.split(",")
        for arm in chosen:
            if arm not in answers:
                raise ConfigError(f"{folder}: no arm '{arm}'.{did_you_mean(arm, answers)}")
        found[record.run_id] = {arm: answers[arm] for arm in chosen}
    return found
