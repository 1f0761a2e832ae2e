"""docs/data.md names every file that configs read below ``data.root``, and says which one it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from ssah_exp.config.compose import conf_dir, parse
from ssah_exp.data.datasets import load_data
from ssah_exp.data.sources import Example
from ssah_exp.errors import SsahWarning

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


def test_the_group_of_your_own_is_read_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(shown, encoding="utf-8")
    rows = [f"refused {number}" for number in range(8)]
    lines = "\n".join(json.dumps({"instruction": row, "answer": "No."}) for row in rows)
    (tmp_path / "refused.jsonl").write_text(lines, encoding="utf-8")
    cells = "\n".join(f"answered {number},,Yes." for number in range(8))
    (tmp_path / "answered.csv").write_text(f"instruction,input,answer\n{cells}", encoding="utf-8")
    (tmp_path / "harmful.csv").write_text("instruction,kind\nWhy?,x\n", encoding="utf-8")
    for name in ("harmless", "borderline", "text"):
        (tmp_path / f"{name}.txt").write_text(f"{name} words\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        config = parse(compose("config", ["data=mine", "alignment=none", search]))
    with pytest.warns(SsahWarning, match="every draw is all of them"):
        data = load_data(config)
    assert len(data.safety_calibration) == len(data.utility_calibration) == 8
    assert data.harmful_eval == (Example("Why?", category="x"),)
    assert data.benign_eval == (Example("harmless words"),)
