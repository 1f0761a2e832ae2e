"""A model is loaded as it was saved, or refused: nothing is drawn at random or put in unasked."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import dynamic_module_utils

from ssah_exp.cache import COST
from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError, SsahWarning
from ssah_exp.models.companion import Companion
from ssah_exp.models.device import check_device
from ssah_exp.models.hf_config import longest_sequence, reachable_positions
from ssah_exp.models.load import load_model
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.sources import LocalFolder
from tests import tiny

CONFIG = ModelConfig(name="tiny", source={}, device="cpu", end_of_turn="<|end|>")
O_PROJ = "model.layers.1.self_attn.o_proj.weight"


def saved(folder: Path, family: str = "llama_gqa") -> Path:
    tiny.tiny_model(family).save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def by_both(folder: Path, message: str) -> None:
    """The model under study and a judge's own model."""
    with pytest.raises(ModelError, match=message):
        load_model(str(folder), CONFIG)
    with pytest.raises(ModelError, match=f"the judge cannot be loaded.*{message}"):
        Companion(weights=LocalFolder(str(folder)), device="cpu").load_companion("the judge")


def test_what_was_saved_is_loaded(family: str, tmp_path: Path) -> None:
    config = replace(CONFIG, attn_implementation="eager")  # which Gemma 2 needs
    loaded = load_model(str(saved(tmp_path, family)), config).model
    wanted = tiny.tiny_model(family).state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(item, wanted[name]) for name, item in loaded.state_dict().items())


def test_a_kernel_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are in no run id: a result of this one would be taken for the right one's.

    transformers 5.0 takes the kernel for this family and leaves the caps out.
    """
    saved(tmp_path, "gemma2")
    monkeypatch.setattr(transformers.Gemma2PreTrainedModel, "_supports_sdpa", True)
    with pytest.raises(ModelError, match=r"Add model\.attn_implementation=eager"):
        load_model(str(tmp_path), CONFIG)


@pytest.mark.parametrize("method", ["bitsandbytes", "fp8", "a method nobody knows"])
def test_quantised_weights_are_refused(method: str, tmp_path: Path) -> None:
    """Some would be loaded without their scales, others need a package that is not here."""
    path = saved(tmp_path) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": method, "load_in_4bit": True}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"are quantised \({method}\)\. Scores and training"):
        load_model(str(tmp_path), CONFIG)


def test_a_judge_that_needs_a_package_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge may be quantised; transformers names the package it lacks."""

    def lacking(*args: object, **options: object) -> None:
        raise ImportError("Using `bitsandbytes` requires it")

    saved(tmp_path)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lacking)
    with pytest.raises(ModelError, match=r"the judge cannot be loaded.*requires it"):
        Companion(weights=LocalFolder(str(tmp_path)), device="cpu").load_companion("the judge")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import a_package_nobody_has", r"packages .* not found.*: a_package_nobody_has"),
        ("below = nothing", "NameError: name 'nothing' is not defined"),
    ],
)
def test_a_model_whose_own_code_fails_is_refused_in_one_sentence(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # the cache's folder comes in
    folder = saved(tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "own.Own"}}
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text(
        f"{code}\nfrom transformers import LlamaConfig\nclass Own(LlamaConfig): pass\n",
        encoding="utf-8",
    )
    # The one way to have a model's own code run is to ask for it; this code is written above.
    taken = replace(CONFIG, trust_remote_code=True)
    with pytest.raises(ModelError, match=f"No model config could be loaded from .*{message}"):
        load_model(str(folder), taken)
    with pytest.raises(ModelError, match=f"No tokenizer could be loaded from .*{message}"):
        load_speech(str(folder), taken)


@pytest.mark.parametrize("content", ["[]", '{"version": "1.0", "added_tokens": [], "model": {}}'])
def test_a_json_file_that_is_no_tokenizer_is_refused_in_one_sentence(
    content: str, tmp_path: Path
) -> None:
    """The library's error may be of any kind, and says nothing of the file."""
    (saved(tmp_path) / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=f"No tokenizer could be loaded from {tmp_path}: "):
        load_speech(str(tmp_path), CONFIG)
    with pytest.raises(ModelError, match=f"the judge cannot be loaded from {tmp_path}: "):
        Companion(weights=LocalFolder(str(tmp_path)), device="cpu").load_companion("the judge")


def test_a_judge_s_folder_runs_no_code_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to itself, transformers asks at the terminal, where a night's run would wait."""
    folder, ran = saved(tmp_path / "judge"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    asked: list[str] = []

    def yes(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", yes)
    with pytest.raises(ModelError, match="the judge cannot be loaded"):
        Companion(weights=LocalFolder(str(folder)), device="cpu").load_companion("the judge")
    assert not asked
    assert not ran.exists()


def test_a_card_without_memory_is_no_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Benchmarks tell it apart by its kind."""

    def full(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError("full")

    saved(tmp_path)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_model(str(tmp_path), CONFIG)


@pytest.mark.parametrize(
    ("named", "stops"), [([2, 3], (2, 3, 7)), (3, (2, 3, 7)), (None, (2, 7)), ("no file", (2, 7))]
)
def test_answers_end_where_the_model_s_own_generation_ends(
    named: object, stops: tuple[int, ...], tmp_path: Path
) -> None:
    """Llama 3's and Qwen2.5's names the end of a text, too, which their tokenizer does not."""
    path = saved(tmp_path) / "generation_config.json"
    path.unlink()
    if named != "no file":
        path.write_text(json.dumps({"eos_token_id": named}), encoding="utf-8")
    assert load_speech(str(tmp_path), CONFIG).stop_ids == stops
    assert load_model(str(tmp_path), CONFIG).speech.stop_ids == stops


def test_a_generation_config_cut_short_is_none_left_out(tmp_path: Path) -> None:
    """Answers would quietly end elsewhere."""
    path = saved(tmp_path) / "generation_config.json"
    path.write_text('{"eos_token_id": [2', encoding="utf-8")
    with pytest.raises(ModelError, match=r"generation_config\.json.*decides where answers end"):
        load_speech(str(tmp_path), CONFIG)


@pytest.mark.parametrize("noted", [False, True])
def test_an_absence_that_the_hub_did_not_tell_is_doubted(
    noted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, or with a failed connection, answers might end elsewhere than on other machines."""
    repo, commit = "owner/name", "c" * 40
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    saved(snapshot)
    (snapshot / "generation_config.json").unlink()
    if noted:
        note = snapshot.parents[1] / ".no_exist" / commit / "generation_config.json"
        note.parent.mkdir(parents=True)
        note.touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SsahWarning)
        assert load_speech(repo, CONFIG, commit).stop_ids == (2, 7)
    told = [str(item.message) for item in said if item.category is SsahWarning]
    doubt = "Whether owner/name has a generation_config.json"
    assert [text.startswith(doubt) for text in told] == ([] if noted else [True])


@pytest.mark.parametrize("named", [[2, 3], None, "no file"])
def test_a_saved_model_ends_its_answers_where_its_origin_does(
    named: object, tmp_path: Path
) -> None:
    """Without a generation config, transformers makes one of the model's config and saves that."""
    tiny.tiny_model("llama_gqa", eos_token_id=3).save_pretrained(tmp_path / "origin")
    tiny.tiny_tokenizer().save_pretrained(tmp_path / "origin")
    path = tmp_path / "origin" / "generation_config.json"
    path.unlink()
    if named != "no file":
        path.write_text(json.dumps({"eos_token_id": named}), encoding="utf-8")
    loaded = load_model(str(tmp_path / "origin"), CONFIG)
    loaded.model.save_pretrained(tmp_path / "saved")
    loaded.speech.tokenizer.save_pretrained(tmp_path / "saved")
    saved = load_speech(str(tmp_path / "saved"), CONFIG)
    assert saved.stop_ids == loaded.speech.stop_ids
    assert saved.template_hash == loaded.speech.template_hash


def test_the_tokenizer_of_a_larger_vocabulary_is_refused(tmp_path: Path) -> None:
    """Its special tokens may have embeddings; the first request with another word ended all."""
    tiny.tiny_model("llama_gqa", vocab_size=tiny.VOCABULARY - 4).save_pretrained(tmp_path)
    tiny.tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"vocabulary of 64 tokens, but .* embeddings for 60\. Is"):
        load_model(str(tmp_path), CONFIG)


def test_tokens_added_to_a_vocabulary_need_no_embedding(tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.add_tokens(["<image>"])
    tiny.tiny_model("llama_gqa").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path), CONFIG).model.config.vocab_size == tiny.VOCABULARY


def test_a_pad_token_without_an_embedding_is_refused(tmp_path: Path) -> None:
    """It was added to the tokenizer only; on a GPU the first padded batch would end all."""
    tokenizer = tiny.tiny_tokenizer(pad_token="<new>")
    tiny.tiny_model("llama_gqa").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer.pad_token_id == tiny.VOCABULARY
    with pytest.raises(ModelError, match=r"has pad token 64, but .* embeddings for 64 tokens"):
        load_model(str(tmp_path), CONFIG)


@pytest.mark.parametrize("name", [O_PROJ, "lm_head.weight", "model.embed_tokens.weight"])
def test_weights_that_are_missing_are_not_drawn_at_random(name: str, tmp_path: Path) -> None:
    rewritten(saved(tmp_path), lambda weights: weights.pop(name))
    by_both(tmp_path, f"no weights for 1 tensors of its model.*{name}")


def test_a_tied_head_is_not_missing(tmp_path: Path) -> None:
    saved(tmp_path, "llama_tied")
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model = load_model(str(tmp_path), CONFIG).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    rewritten(saved(tmp_path), lambda weights: weights.update({O_PROJ: torch.ones(40, 44)}))
    by_both(tmp_path, f"in another shape: {O_PROJ}")


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    by_both(tmp_path, "No model could be loaded")


def test_an_adapter_is_not_put_in_unasked(tmp_path: Path) -> None:
    """transformers would wrap the projections, whose weights then are the base model's alone."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["o_proj"], r=2)
    peft.get_peft_model(tiny.tiny_model("llama_gqa"), config).save_pretrained(tmp_path / "adapter")
    saved(tmp_path / "model")
    for file in (tmp_path / "adapter").glob("adapter_*"):
        file.rename(tmp_path / "model" / file.name)
    written = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert written["peft_type"] == "LORA"
    by_both(tmp_path / "model", r"adapter_config\.json: .*Merge it")


def test_what_a_training_took_is_no_part_of_its_model(tmp_path: Path) -> None:
    """A folder of the cache holds it beside the weights; trained again, the model is the same."""
    tiny.tiny_model("llama").save_pretrained(tmp_path)
    before = LocalFolder(str(tmp_path)).fingerprint()
    (tmp_path / COST).write_text('{"certificate_seconds": 1.5}', encoding="utf-8")
    assert LocalFolder(str(tmp_path)).fingerprint() == before
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    assert LocalFolder(str(tmp_path)).fingerprint() != before


@pytest.mark.parametrize(
    ("rope", "reach"),
    [
        (None, 4096),
        ({"rope_type": "linear", "factor": 4.0}, 16384),
        ({"rope_type": "dynamic", "factor": 2.0}, 8192),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 512,
            },
            4096,
        ),
    ],
)
def test_stretched_positions_reach_further_than_the_config_names(
    rope: dict[str, object] | None, reach: int, tmp_path: Path
) -> None:
    """Of llama3's kind, the config names those from after the stretching."""
    config = transformers.LlamaConfig(max_position_embeddings=4096).to_dict()
    config |= {"architectures": ["LlamaForCausalLM"]}
    if rope is not None:
        config["rope_parameters"] = {"rope_theta": 10000.0, **rope}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert reachable_positions(str(tmp_path), CONFIG) == reach
    assert longest_sequence(str(tmp_path), CONFIG) == 4096


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:1"])
def test_looking_for_a_device_takes_nothing_on_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised"))
    check_device(name)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:", "cuda:x"])
def test_a_card_beyond_the_last_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelError, match=f"^model.device={name} is not .* sees 2 GPU"):
        check_device(name)
