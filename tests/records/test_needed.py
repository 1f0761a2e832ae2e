"""Records of other people whose configs lack keys: refused by the key, or read all the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.cli import main
from ssah_exp.errors import StoreError
from ssah_exp.records.needed import lacking
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RECORD

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COMMITTED = {
    "pruning": "paper_smollm2/records/0b932a30800e.json",  # with attacks
    "training": "table3_peft/records/57128beded6b.json",
    "probe": "fig2_fig3_fig4_fig7_probe/records/6a33b701e8c5.json",
}
Key = tuple[str, ...]


@cache
def _text(name: str) -> str:
    return (EXPERIMENTS / COMMITTED[name]).read_text(encoding="utf-8")


def committed(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_text(name))
    config = content["config"]
    if name == "probe":
        config["probe"]["steps"] = config["probe"]["steps"][:1]  # small pictures
    else:
        config["evaluation"]["bootstrap_resamples"] = 20  # quick comparisons
    return content


def keys_of(config: dict[str, Any], above: Key = ()) -> Iterator[Key]:
    """Every key, sections before what is in them; nodes that become objects are whole."""
    for name, value in config.items():
        yield (*above, name)
        if isinstance(value, dict) and "_target_" not in value:
            yield from keys_of(value, (*above, name))


def drop(content: dict[str, Any], key: Key) -> None:
    *above, last = ("config", *key)
    for name in above:
        content = content[name]
    del content[last]


def bare(name: str) -> dict[str, Any]:
    """A committed record without every key of its config that it may lack."""
    content = committed(name)
    for key in [*keys_of(content["config"])][::-1]:  # what is in a section before the section
        fewer = deepcopy(content)
        drop(fewer, key)
        if not [*lacking(fewer)]:
            content = fewer
    return content


@pytest.mark.parametrize("name", COMMITTED)
def test_without_any_one_key_a_record_is_refused_by_it_or_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, path = committed(name), tmp_path / "one.json"
    words = ["tables", content["artefact"], "--records", str(tmp_path)]
    refused = set()
    for key in keys_of(content["config"]):
        fewer = deepcopy(content)
        drop(fewer, key)
        path.write_text(json.dumps(fewer), encoding="utf-8")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            ended = main(words)
        said = [str(item.message) for item in warned if "Skipping" in str(item.message)]
        assert ended == (2 if said else 0)
        assert len(capsys.readouterr().err.splitlines()) == (1 if said else 0)
        if said:
            dotted = ".".join(key)
            start = f"Skipping a record: {path} cannot be read: Not a run record: its config has no"
            assert said[0].startswith(f"{start} '{dotted}")
            refused.add(dotted)
    assert {"model", "model.name", "data.name", "evaluation", "evaluation.confidence"} <= refused
    assert not {"seed", "alignment", "model.precision", "data.benign_eval"} & refused


def _commands(folder: Path, artefact: str) -> Iterator[tuple[str, ...]]:
    """Every reader of records that has something to say about an artefact."""
    yield from (("tables", artefact, "--format", form) for form in ("markdown", "csv"))
    yield from (("mirror", "csv"), ("report", "--out", str(folder / "report.html")))
    yield "figure", artefact, "--out", str(folder / "figure.png")
    if artefact != "probe":
        yield from (("compare", artefact), ("claims", str(_claims(folder, artefact))))


def _claims(folder: Path, artefact: str) -> Path:
    path, about = folder / "claims.yaml", {"shows": "lower", "arm": "aligned"}
    metrics = ("perplexity", "asr/raw/zou2023")
    tests = [{**about, "against": "unaligned", "metric": name} for name in metrics]
    claim = {"claim": "alignment counts", "artefact": artefact, "tests": tests}
    path.write_text(json.dumps({"claims": [claim]}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", COMMITTED)
def test_with_the_needed_keys_alone_every_command_reads_a_record(name: str, tmp_path: Path) -> None:
    content = bare(name)
    kept, whole = (len([*keys_of(held["config"])]) for held in (content, committed(name)))
    assert kept < 0.7 * whole
    path = tmp_path / "runs" / content["artefact"] / content["run_id"] / RECORD
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    for words in _commands(tmp_path, content["artefact"]):
        assert main([*words, "--root", str(tmp_path)]) == 0, words


def _without(name: str, *key: str, **attacks: Any) -> str:
    content = committed(name)
    content["config"]["evaluation"] |= attacks
    drop(content, key)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (_without("training", "training", "arms", "lora", "policy"), "training.arms.lora.policy"),
        (_without("training", "training", "arms", "full", "adapter"), "training.arms.full.adapter"),
        (_without("pruning", "seed", mean_with="a"), "evaluation.attacks.a.styles"),
        (_without("probe", "probe"), "probe.benign"),
        (_without("probe", "evaluation"), "evaluation.confidence"),
    ],
)
def test_the_first_key_that_is_not_there_is_named(text: str, key: str) -> None:
    with pytest.raises(StoreError, match=f"^Not a run record: its config has no '{key}'.$"):
        RunRecord.from_json(text)
    assert key in lacking(json.loads(text))


def test_an_artefact_of_another_version_needs_what_all_that_ask_have() -> None:
    content = committed("pruning")
    content["artefact"] = "another"
    drop(content, ("ablation",))
    RunRecord.from_json(json.dumps(content))
    drop(content, ("evaluation", "harmful_styles"))
    assert [*lacking(content)] == ["evaluation.harmful_styles"]
