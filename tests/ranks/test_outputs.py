"""What a trained arm leaves behind, where several ranks trained it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ssah_exp import ranks
from ssah_exp.cache import Cache
from ssah_exp.models.sources import LocalFolder
from ssah_exp.pipeline.outputs import publish
from tests.ranks.forked import run_forked
from tests.tiny import tiny_model


def test_every_rank_hears_why_there_is_no_delta(tmp_path: Path) -> None:
    """Rank 0 alone tries; had it gone on alone, the others would take its next word for this."""
    model = tiny_model("llama_gqa")
    model.save_pretrained(tmp_path / "start")
    model.bfloat16().save_pretrained(tmp_path / "tuned")
    run_forked(2, _publish, tmp_path)
    said = [json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in (0, 1)]
    assert said[0] == said[1]
    assert "bits of one type cannot be put into another" in said[0][0]
    assert said[0][1] == "what came next"


def _publish(folder: Path) -> None:
    cache = Cache(folder / "cache")
    start, tuned = (
        LocalFolder(str(folder / name)).resolve(cache)[0] for name in ("start", "tuned")
    )
    arm = SimpleNamespace(name="few", mask=np.ones(1, dtype=np.bool_))
    with ranks.joined(2, 1, cuda=False):
        found = publish(arm, SimpleNamespace(ref=tuned, start=start), start, folder / "run", cache)  # type: ignore[arg-type]
        after = ranks.from_first(lambda: "what came next")
        (folder / f"{ranks.rank()}.json").write_text(json.dumps([found, after]), "utf-8")
