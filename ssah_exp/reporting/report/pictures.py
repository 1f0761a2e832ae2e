"""Pictures in the page: those that `ssah-exp figure` draws, put in as data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ssah_exp.config.artefacts import PROBE
from ssah_exp.records.record import RunRecord

# Each run has three pictures or more, half a megabyte together.
MOST_PICTURED = 3
_DISTANCES = (
    "Distance of each opening to the continuation of the bare request at every block, by tokens "
    "read, of the unaligned and the aligned model, benign and malicious openings beside their "
    "random twins"
)
_SHOWN = {
    "-gap": "Distance of benign openings less that of malicious ones at every block, by tokens "
    "read, of the unaligned and the aligned model beside random twins",
    "-auc": "Held-out AUC of a linear probe for harmful requests at every block, of the unaligned "
    "and the aligned model beside shuffled labels",
}


@dataclass(frozen=True)
class Picture:
    """A drawing of one run.

    Attributes:
        title: What it shows and of which run.
        alt: The same in words, for those who do not see it.
        source: A ``data:`` address that holds it.
    """

    title: str
    alt: str
    source: str


def pictures(records: Sequence[RunRecord]) -> list[Picture]:
    """Pictures of the newest runs, if the artefact is one whose runs are drawn one by one.

    Args:
        records: Of one artefact.
    """
    if records[0].artefact != PROBE:
        return []
    found: list[Picture] = []
    for run in sorted(records, key=lambda item: item.finished, reverse=True)[:MOST_PICTURED]:
        found += _probe(run)
    return found


def _probe(run: RunRecord) -> list[Picture]:
    from ssah_exp.reporting.figures.probe import draw_probe

    model, data = run.config["model"]["name"], run.config["data"]["name"]
    of = f"{model}, {data}, seed {run.seed}, run {run.run_id}"
    with TemporaryDirectory() as folder:
        drawn = draw_probe([run], Path(folder) / "distances.svg")
        return [
            Picture(
                f"{path.stem.replace('-', ', ')}: {of}", f"{_shown(path.stem)}: {of}", _data(path)
            )
            for path, _ in drawn
        ]


def _shown(name: str) -> str:
    """What the picture of that name has on its axes."""
    return next((text for end, text in _SHOWN.items() if name.endswith(end)), _DISTANCES)


def _data(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
