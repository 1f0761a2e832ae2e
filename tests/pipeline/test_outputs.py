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


@pytest.mark.parametrize("linked", ["runs", "cache"])
def test_a_model_is_found_where_a_folder_of_the_root_is_a_link(linked: str, tmp_path: Path) -> None:
    """One of them may lie on another disk; the link led nowhere."""
    root, disk = tmp_path / "root", tmp_path / "disk" / "deep" / linked
    for place in (root, disk):
        place.mkdir(parents=True)
    (root / linked).symlink_to(disk)
    model, link = root / "cache" / "train" / "key", root / "runs" / "table" / "id" / "models" / "a"
    model.mkdir(parents=True)
    (model / "file").write_text("content", encoding="utf-8")
    outputs._link_model(link, model)
    assert (link / "file").read_text(encoding="utf-8") == "content"
    by_names = Path("../../../../cache/train/key")
    assert (link.readlink() == by_names) is (linked == "cache"), "the root may be moved"


def test_a_link_opens_nothing_in_the_cache_to_others(tmp_path: Path) -> None:
    model = tmp_path / "cache" / "key"
    model.mkdir(parents=True)
    (model / "weights").write_text("content", encoding="utf-8")
    (model / "weights").chmod(0o600)
    outputs._link_model(tmp_path / "run" / "full", model)
    assert (model / "weights").stat().st_mode & 0o777 == 0o600
