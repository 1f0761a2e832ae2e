"""What a run puts into its folder, while an equal run does the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssah_exp.pipeline import outputs


@pytest.mark.parametrize("kind", ["model", "file"])
def test_equal_runs_put_the_same_links_side_by_side(kind: str, tmp_path: Path) -> None:
    source, target = tmp_path / "cache" / "entry", tmp_path / "run" / "models" / "full"
    source.mkdir(parents=True)
    (source / "file").write_text("content", encoding="utf-8")

    def put(_: int) -> None:
        if kind == "model":
            outputs._link_model(target, source)
        else:
            outputs._link_file(target, source / "file")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(400)))
    found = target / "file" if kind == "model" else target
    assert found.read_text(encoding="utf-8") == "content"
    assert [path.name for path in target.parent.iterdir()] == ["full"]
    if kind == "model":
        assert not target.readlink().is_absolute(), "the root may be moved"
