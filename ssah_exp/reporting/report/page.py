"""The page itself: templates, style and script put into one file that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ssah_exp import __version__
from ssah_exp.errors import StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.report.charts.parts import mark
from ssah_exp.reporting.report.environments import environments
from ssah_exp.reporting.report.payload import embedded, payload
from ssah_exp.reporting.report.runs import run_lines
from ssah_exp.reporting.report.sections import sections

_TEMPLATES = Path(__file__).parent / "templates"
_INTERVAL = re.compile(r"^(.*?)((?: (?:±|×/÷) .*?)?(?: \[.*\])?(?: \(\d+ of \d+\))?(?: †)?)$")


def render_report(records: Sequence[RunRecord]) -> str:
    """One HTML page about these runs.

    Style and script are inside, and the page's policy allows those two by their hash and nothing
    else: whatever a record holds, nothing of it runs, and nothing is fetched.

    Args:
        records: At least one, in any order.

    Raises:
        StoreError: No records.
    """
    if not records:
        raise StoreError("A report needs at least one record.")
    style, script = (_read(name) for name in ("style.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["parts"] = value_parts
    return environment.get_template("page.html").render(
        version=__version__,
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own files, not data
        script=Markup(script),  # noqa: S704
        data=Markup(embedded(payload(records))),  # noqa: S704 - escaped there
        lines=run_lines(records),
        sections=sections(records),
        environments=environments(records),
        choices=_choices(records),
        newest=max(record.finished for record in records),
        mark=mark,
    )


def value_parts(text: str) -> tuple[str, str]:
    """``60.0 [50.2, 69.1]`` as value and the rest, which is set smaller."""
    found = _INTERVAL.match(text)
    return (found[1], found[2].strip()) if found else (text, "")


def _choices(records: Sequence[RunRecord]) -> dict[str, list[tuple[str, int]]]:
    """What the table of runs can be filtered by, with how many runs each."""
    values = {
        "artefact": Counter(record.artefact for record in records),
        "model": Counter(str(record.config["model"]["name"]) for record in records),
        "data": Counter(str(record.config["data"]["name"]) for record in records),
        "seed": Counter(str(record.seed) for record in records),
    }
    return {name: sorted(counter.items()) for name, counter in values.items()}


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: this style, this script, no request, no form, no frame."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
