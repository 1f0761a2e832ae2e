"""Models that give no numbers: refused where they come so, a gap where an arm breaks them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import ModelError
from ssah_exp.evaluation.perplexity import window_losses
from ssah_exp.models.load import LoadedModel
from ssah_exp.pipeline.stages import benchmarks
from ssah_exp.units import identify
from tests.pipeline.tiny_run import furnish, run, tiny_config
from tests.tiny import tiny_model


@pytest.fixture
def broken(tmp_path: Path) -> RunConfig:
    """One NaN in the LM head of a model that comes aligned."""
    furnish(tmp_path)
    model = tiny_model("llama_gqa")
    model.get_output_embeddings().weight.data[3, 5] = math.nan
    model.save_pretrained(tmp_path / "model")
    config = tiny_config(tmp_path)
    config.alignment.enabled = False
    return config


def test_a_broken_lm_head_is_refused_before_anything_is_asked(broken: RunConfig) -> None:
    with pytest.raises(ModelError, match="NaN or infinite weights in the LM head"):
        run(broken)
    assert not (Path(broken.paths.root) / "cache" / "answers").exists()
    assert not list(Path(broken.paths.root).glob("runs/*/*/record.json"))


def test_logits_of_a_dense_model_that_are_no_numbers_are_refused(
    broken: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason; here the weights, as if statistics came from an earlier version."""
    monkeypatch.setattr(identify, "check_head", lambda model: None)
    with pytest.raises(ModelError, match=r"'aligned' gives logits that are not numbers .* LM head"):
        run(broken)
    assert not list(Path(broken.paths.root).glob("runs/*/*/record.json"))


def test_an_arm_that_breaks_keeps_its_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(furnish(tmp_path))
    config.alignment.enabled = False
    config.ablation.classes, config.ablation.fills = ["SCU"], ["pooled"]
    config.ablation.controls.of = []
    calls: list[int] = []

    def losses(loaded: LoadedModel, *given: object) -> list[float]:
        found = window_losses(loaded, *given)  # type: ignore[arg-type]
        calls.append(len(found))
        return found if len(calls) == 1 else [math.nan, *found[1:]]

    monkeypatch.setattr(benchmarks, "window_losses", losses)
    dense, ablated = run(config).record.arms
    assert dense.metrics["perplexity"].value is not None
    assert ablated.metrics["perplexity"].value is None
    assert ablated.metrics["perplexity"].method == "none: a loss is not a number"
