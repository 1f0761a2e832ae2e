"""docs/data.md names every file that configs read below ``data.root``, and says which one it is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
# File -> first digits of its sha256.
LISTED = dict(re.findall(r"^\| `([^`*]+)` \|.*\| `([0-9a-f]{12})` \|$", PAGE, re.MULTILINE))


def configured() -> set[str]:
    """Files of configs and of the harness tasks, as they lie below ``data.root``."""
    below = re.compile(r"\$\{data\.root\}/([^\s\"']+)")
    groups = {
        name
        for path in (ROOT / "conf").rglob("*.yaml")
        for name in below.findall(path.read_text(encoding="utf-8"))
    }
    tasks = ROOT / "ssah_exp" / "evaluation" / "utility" / "tasks"
    inline = re.compile(r"^files: (\{.*\})$", re.MULTILINE)
    found = [inline.search(path.read_text(encoding="utf-8")) for path in tasks.glob("*.yaml")]
    return groups | {name for item in found if item for name in yaml.safe_load(item[1]).values()}


def test_every_file_that_a_config_reads_has_its_source() -> None:
    files = configured()
    assert len(files) > 20
    by_subject = {name for name in files if "{subject}" in name}
    assert by_subject
    assert files - by_subject == set(LISTED)
    assert all(f"`{Path(name).parent}/*.csv`" in PAGE for name in by_subject)


@pytest.mark.skipif("SSAH_DATA_ROOT" not in os.environ, reason="the files lie elsewhere")
@pytest.mark.parametrize("name", sorted(LISTED))
def test_the_file_is_the_one_that_is_meant(name: str) -> None:
    content = (Path(os.environ["SSAH_DATA_ROOT"]) / name).read_bytes()
    assert hashlib.sha256(content).hexdigest()[:12] == LISTED[name]
