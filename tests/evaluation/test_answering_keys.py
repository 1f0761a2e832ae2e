"""What answers and attempts are kept under.

The version of vLLM is part of it, the default engine is not; so is a tokenizer where it cuts, and
where shots come from if some are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ssah_exp.cache import Cache
from ssah_exp.config.schema import RunConfig
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, DataError, ModelError
from ssah_exp.evaluation.attacks import Attack, Prefill, SuffixFile
from ssah_exp.evaluation.questions import Prompt, Question
from ssah_exp.evaluation.vllm_engine import check_biases
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.sizes import KINDS
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.tokenizer import Speech, check_tokenizer
from ssah_exp.pipeline.stages import Stages, answering
from tests import tiny
from tests.config.composing import config_of
from tests.evaluation.utility.tiny_tasks import save_files
from tests.pipeline.tiny_run import silent


class Keys:
    """A cache that keeps what it is asked for, and computes nothing."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def partial(self, stage: str, material: Mapping[str, Any]) -> Path:
        return Path(stage)

    def get_or_compute(self, stage: str, material: Mapping[str, Any], *_: Any, **__: Any) -> None:
        self.asked.append(dict(material))


def stages_of(config: RunConfig, cache: Any, speech: Speech) -> Stages:
    nothing: Any = None  # neither data nor a model is looked at
    return Stages(config, nothing, cache, silent(), nothing, speech)


def key_of(engine: str, version: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(answering, "package_version", {"vllm": version}.get)
    cache, config = Keys(), config_of(f"evaluation.engine={engine}")
    stages = stages_of(config, cache, tiny.tiny_speech())
    stages.answers(ModelRef("m", "0", "place", "print"), None, [], [], "arm")
    (key,) = cache.asked
    return key


def test_another_vllm_does_not_take_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (key_of("vllm", version, monkeypatch) for version in ("0.8", "0.9"))
    assert one != other
    assert one["engine"] == other["engine"] == "vllm"


def test_the_default_engine_asks_for_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (key_of("transformers", version, monkeypatch) for version in ("0.8", "0.9"))
    assert one == other
    assert "engine" not in str(one)


def by_letters() -> Speech:
    """The tiny vocabulary's specials and letters; no template, as the words' tokenizer below."""
    vocabulary = {text: at for at, text in enumerate((*tiny.SPECIALS, *"w123456789 "))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return without_template(tokenizer_object=backend)


def without_template(**changes: Any) -> Speech:
    tokenizer = tiny.tiny_tokenizer(**changes)
    tokenizer.chat_template = None
    return check_tokenizer(tokenizer, "<|end|>", None)


def attempts_key(attack: Attack, speech: Speech) -> dict[str, Any]:
    cache = Keys()
    stages = stages_of(config_of(), cache, speech)
    stages.attempts(ModelRef("m", "0", "place", "print"), None, attack, [], "arm")
    (key,) = cache.asked
    return key


def test_tokenizers_that_cut_a_beginning_otherwise_do_not_share_it() -> None:
    words, letters = without_template(), by_letters()
    assert words.template_hash == letters.template_hash
    cut = Prefill(name="p", text="w1 w2", tokens=1)
    assert attempts_key(cut, words) != attempts_key(cut, letters)
    assert attempts_key(cut, words) == attempts_key(cut, without_template())


def test_a_beginning_that_ends_within_a_character_is_refused() -> None:
    """Its bytes are read back as a replacement character, which nobody asked to be put."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: at for at, text in enumerate((*tiny.SPECIALS, *alphabet))}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    speech = without_template(tokenizer_object=backend)
    with pytest.raises(ConfigError, match=r"tokens=3 cuts 'Größe' within a character"):
        attempts_key(Prefill(name="p", text="Größe", tokens=3), speech)
    two, four = (Prefill(name="p", text="Größe", tokens=count) for count in (2, 4))
    assert attempts_key(two, speech)["beginning"] == digest_of("Gr")
    assert attempts_key(four, speech)["beginning"] == digest_of("Grö")


def test_a_beginning_that_is_given_whole_is_shared_by_all(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("w1\n", encoding="utf-8")
    whole = Prefill(name="p", text="w1 w2")
    for attack in (whole, SuffixFile(name="s", path=str(tmp_path / "s.txt"))):
        assert attempts_key(attack, without_template()) == attempts_key(attack, by_letters())
    assert attempts_key(whole, by_letters()).keys() == {"version", "attack", "requests", "template"}


def utility_key(
    root: Path, task: str, *overrides: str, ablation: Ablation | None = None
) -> dict[str, Any]:
    cache = Keys()
    files = ("utility=table4_files", f"utility.root={root}")
    config = config_of(*files, f"utility.tasks=[{task}]", *overrides)
    stages_of(config, cache, tiny.tiny_speech()).utility(
        task, ModelRef("m", "0", "place", "print"), ablation, "arm"
    )
    (key,) = cache.asked
    return key


@pytest.mark.parametrize("task", ["arc_easy", "boolq"])
def test_answers_without_shots_stay_where_they_are(task: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    root = save_files(tmp_path)
    without = utility_key(root, task)
    assert "shots" not in without
    assert without == utility_key(root, task, f"+utility.fewshot.{task}=0") | {"fewshot": None}


def test_answers_behind_shots_of_another_split_are_asked_again(tmp_path: Path) -> None:
    """Those of earlier versions may have seen their own question among the shots."""
    pytest.importorskip("lm_eval")
    root = save_files(tmp_path)
    key = utility_key(root, "arc_easy", "+utility.fewshot.arc_easy=5")
    assert key["shots"] == {"fewshot_split": "test"}


@pytest.fixture(scope="module")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lm_eval")
    return save_files(tmp_path_factory.mktemp("tasks"))


FEW = "utility.limit=3"
SOME = Ablation(
    {kind: torch.ones(1, 1, dtype=torch.bool) for kind in KINDS},
    {kind: torch.zeros(1, 1) for kind in KINDS},
)


@pytest.mark.parametrize(
    ("task", "overrides", "ablation"),
    [
        ("rte", [FEW], None),
        ("piqa", ["utility.limit=4"], None),
        ("piqa", [FEW, "+utility.fewshot.piqa=1"], None),
        ("piqa", [FEW, "model.precision=bfloat16"], None),
        ("piqa", [FEW], SOME),
    ],
    ids=["task", "limit", "shots", "precision", "ablation"],
)
def test_what_decides_answers_to_a_task_is_in_their_key(
    task_files: Path, task: str, overrides: list[str], ablation: Ablation | None
) -> None:
    known = utility_key(task_files, "piqa", FEW)
    assert known == utility_key(task_files, "piqa", FEW, "+utility.batch_size=7")
    assert known != utility_key(task_files, task, *overrides, ablation=ablation)


def test_answers_to_questions_that_were_edited_are_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    root = save_files(tmp_path)
    known, path = utility_key(root, "piqa"), root / "utility" / "piqa.jsonl"
    path.write_text(path.read_text().replace('"gold": 0', '"gold": 1'), encoding="utf-8")
    assert known != utility_key(root, "piqa")


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_request_that_an_attack_made_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Plain requests are looked at before a run; a model goes on beyond its positions in noise."""
    monkeypatch.setattr(answering, "reachable_positions", lambda *_: 52)
    config = config_of(f"evaluation.engine={engine}", "evaluation.max_new_tokens=40")
    stages = stages_of(config, Cache(tmp_path), tiny.tiny_speech())
    fits, long = Prompt((9,) * 12, "raw"), Prompt((9,) * 13, "raw")
    question = Question("harmful", "raw", "w1", None)
    ref = ModelRef("m", "0", "place", "print")
    with pytest.raises(DataError, match=r"attacked or not, has 13 tokens .* made for 52 positions"):
        stages.answers(ref, None, [question] * 2, [fits, long], "arm")
    with pytest.raises((AttributeError, ModelError)):  # no model to ask: it was not refused
        stages.answers(ref, None, [question], [fits], "arm")


@pytest.mark.parametrize(
    ("kind", "bias", "refused"),
    [
        ("qwen3", True, True),
        ("gemma", True, True),
        ("qwen3", False, False),
        *((kind, True, False) for kind in ("llama", "gemma2", "gemma3_text")),
    ],
)
def test_an_export_whose_bias_vllm_would_drop_is_refused(
    tmp_path: Path, kind: str, bias: bool, refused: bool
) -> None:
    """The heads' means would be zeros, under the mean's name."""
    content = {"model_type": kind, "attention_bias": bias}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=f"of a {kind} model") if refused else nullcontext():
        check_biases(tmp_path)
