"""Learned prefixes and adaption prompts in a model, against PEFT's own forward."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ssah_exp.errors import ModelError
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.interventions.ablate import Ablation, ablated, plan_ablation
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.attached.base import Attached, attached_to
from ssah_exp.models.attached.folder import load_adapter, save_adapter
from ssah_exp.models.attached.llama_adapter import AdaptionPrompts
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.logits import hidden_states, token_logits, token_losses
from tests.tiny import (
    FAMILIES,
    never_stopping,
    padded,
    pre_hooks,
    random_words,
    tiny_loaded,
    tiny_model,
    tiny_speech,
)
from tests.training.adapting import ATTACHED, MODEL, PROMPTED, a_batch, bits, logits_of, randomise

peft = pytest.importorskip("peft")

CASES = [
    *(("prefix", family) for family in sorted(FAMILIES)),
    *(("llama_adapter", family) for family in PROMPTED),
]
on_every_case = pytest.mark.parametrize(("method", "family"), CASES)


def attach(model: PreTrainedModel, method: str) -> Attached:
    """As after training, with values that matter."""
    attached: Attached = (
        LearnedPrefix.new(model, 4) if method == "prefix" else AdaptionPrompts.new(model, 3, 2)
    )
    randomise(attached)
    return attached


def with_peft(method: str, family: str, folder: Path, **changes: Any) -> tuple[Any, Any]:
    """A model with our adapter, and the same model with PEFT's own, loaded from what we save."""
    ours = tiny_model(family, **changes)
    theirs = copy.deepcopy(ours)
    attach(ours, method)
    save_adapter(ours, folder)
    return ours, peft.PeftModel.from_pretrained(theirs, folder / "adapter").eval()


@on_every_case
@torch.no_grad()
def test_logits_are_those_of_peft(method: str, family: str, tmp_path: Path) -> None:
    ours, theirs = with_peft(method, family, tmp_path)
    ids, mask = a_batch()
    expected = theirs(input_ids=ids, attention_mask=mask).logits.float()[mask.bool()]
    torch.testing.assert_close(logits_of(ours), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, logits_of(tiny_model(family)), atol=0.1)
    whole = ours(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()[mask.bool()]
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)


def forward_by_forward(theirs: Any, row: torch.Tensor, new_tokens: int) -> list[int]:
    """Greedy tokens through PEFT's forward pass, without cache, batch or padding.

    PEFT's ``generate`` is no oracle: with transformers 5.24 and PEFT 0.21 it hands the prefix over
    under a name that is no longer read.
    """
    for _ in range(new_tokens):
        logits = theirs(input_ids=row, attention_mask=torch.ones_like(row)).logits
        row = torch.cat([row, logits[:, -1].argmax(-1, keepdim=True)], 1)
    return list(row[0, -new_tokens:].tolist())


@on_every_case
@torch.no_grad()
def test_generated_tokens_are_those_of_peft(method: str, family: str, tmp_path: Path) -> None:
    ours, theirs = with_peft(method, family, tmp_path)
    plain: Any = tiny_model(family)
    ids, mask = a_batch(left=True)
    named = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 10, "eos_token_id": 99}
    found = ours.generate(**named, do_sample=False)
    for row, present, answer in zip(ids, mask.bool(), found, strict=True):
        expected = forward_by_forward(theirs, row[present].unsqueeze(0), 10)
        assert answer[-10:].tolist() == expected
    assert not torch.equal(found, plain.generate(**named, do_sample=False))


def argmax_loop(model: PreTrainedModel, prompt: tuple[int, ...], new_tokens: int) -> list[int]:
    """No cache, no batch, no padding."""
    ids = list(prompt)
    for _ in range(new_tokens):
        hidden = hidden_states(model, torch.tensor([ids]), torch.ones(1, len(ids)).long())
        ids.append(int(token_logits(model, hidden[0, -1]).argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("share", [False, True])
@on_every_case
@torch.no_grad()
def test_batched_generation_is_one_argmax_at_a_time(method: str, family: str, share: bool) -> None:
    loaded = never_stopping(LoadedModel(tiny_model(family), tiny_speech()))
    attach(loaded.model, method)
    shared = tuple(random_words(5, 8))
    prompts = [Prompt((*shared, *random_words(own, 30 + own)), "raw") for own in (3, 8, 1)]
    answers = generate(loaded, prompts, Decoding(8, batch_size=3, share_prefix=share))
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = argmax_loop(loaded.model, prompt.ids, 8)
        [text] = loaded.speech.tokenizer.batch_decode([expected], skip_special_tokens=True)
        assert answer == text.strip()


@on_every_case
@torch.no_grad()
def test_losses_do_not_depend_on_the_batch(method: str, family: str) -> None:
    model = tiny_model(family)
    attach(model, method)
    rows = [random_words(9, 1), random_words(4, 2)]
    ids, mask = padded(rows)
    together = token_losses(model, ids, mask, mask.bool())
    apart = []
    for row in rows:
        one = torch.tensor([row])
        apart.append(token_losses(model, one, torch.ones_like(one), torch.ones_like(one).bool()))
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ATTACHED)
def test_the_models_own_modules_and_names_stay(method: str) -> None:
    model = tiny_model("llama_gqa")
    places, before = [name for name, _ in model.named_modules()], bits(model)
    anatomy, plain = read_anatomy(model), logits_of(model)
    attached = attach(model, method)
    assert [name for name, _ in model.named_modules()] == places
    assert bits(model).keys() == before.keys() == model.state_dict().keys() - {""}
    assert read_anatomy(model) == anatomy
    assert all(item.requires_grad for item in model.parameters())
    assert all(torch.equal(item, before[name]) for name, item in model.named_parameters())
    attached.detach()
    assert torch.equal(logits_of(model), plain)
    assert pre_hooks(model) == 0
    assert attached_to(model) is None
    attach(model, method)  # free again


@pytest.mark.parametrize("method", ATTACHED)
def test_a_copied_model_has_its_own_adapter(method: str) -> None:
    model = tiny_model("llama_gqa")
    attach(model, method)
    other = copy.deepcopy(model)
    before = logits_of(model)
    assert torch.equal(logits_of(other), before)
    copied = attached_to(other)
    assert copied is not None
    with torch.no_grad():
        for item in copied.parameters.values():
            item.mul_(0.5)
    assert not torch.equal(logits_of(other), before)
    assert torch.equal(logits_of(model), before)


@pytest.mark.parametrize("method", ATTACHED)
@torch.no_grad()
def test_low_precision(method: str, tmp_path: Path) -> None:
    ours, theirs = with_peft(method, "llama_gqa", tmp_path, dtype=torch.bfloat16)
    attached = attached_to(ours)
    assert attached is not None
    assert {item.dtype for item in attached.parameters.values()} == {torch.float32}
    ids, mask = a_batch()
    expected = theirs(input_ids=ids, attention_mask=mask).logits.float()[mask.bool()]
    error = (logits_of(ours) - expected).abs().mean()
    assert error < 0.03 * expected.std()


# --- ablation ---


def heads_of(model: PreTrainedModel, chosen: Callable[[int, int], bool]) -> Ablation:
    """Zero the heads for which ``chosen(block, head)``."""
    anatomy = read_anatomy(model)
    selected = np.zeros((anatomy.layers, anatomy.heads + anatomy.neurons), dtype=bool)
    for block in range(anatomy.layers):
        for head in range(anatomy.heads):
            selected[block, head] = chosen(block, head)
    fills = {
        kind: torch.zeros(anatomy.layers, anatomy.channels(kind), dtype=torch.float64)
        for kind in ("attention", "mlp")
    }
    return plan_ablation(selected.ravel(), anatomy, fills)  # type: ignore[arg-type]


@torch.no_grad()
def test_ablation_with_a_prefix_is_that_of_peft(tmp_path: Path) -> None:
    ours, theirs = with_peft("prefix", "llama_gqa", tmp_path)
    ablation = heads_of(ours, lambda block, head: (block, head) in {(0, 1), (2, 3)})
    ids, mask = a_batch()
    before = logits_of(ours)
    with ablated(ours, ablation), ablated(theirs.get_base_model(), ablation):
        found = logits_of(ours)
        expected = theirs(input_ids=ids, attention_mask=mask).logits.float()[mask.bool()]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, before, atol=0.1)
    assert torch.equal(logits_of(ours), before)


def test_an_ablated_head_reads_no_prompt() -> None:
    ours, plain = tiny_model("llama_gqa"), tiny_model("llama_gqa")
    attach(ours, "llama_adapter")  # in blocks 1 and 2
    every = heads_of(ours, lambda block, head: block > 0)
    with ablated(ours, every), ablated(plain, every):
        assert torch.equal(logits_of(ours), logits_of(plain))
    one = heads_of(ours, lambda block, head: (block, head) == (1, 2))
    with ablated(ours, one), ablated(plain, one):
        assert not torch.allclose(logits_of(ours), logits_of(plain), atol=0.1)


# --- sliding windows ---


@torch.no_grad()
def test_beyond_a_sliding_window_a_prefix_slides_out_of_sight(tmp_path: Path) -> None:
    ours, theirs = with_peft("prefix", "mistral", tmp_path, sliding_window=6)
    ids = torch.tensor([random_words(12, 1)])
    mask = torch.ones_like(ids)
    found = token_logits(ours, hidden_states(ours, ids, mask))
    expected = theirs(input_ids=ids, attention_mask=mask).logits.float()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_between_prefix_and_tokens_beyond_a_window_is_refused() -> None:
    model = tiny_model("mistral", sliding_window=10)
    attach(model, "prefix")  # 4 positions
    for width, refused in ((6, False), (7, True)):
        ids, mask = padded([random_words(width, 1), random_words(3, 2)], left=True)
        if refused:
            with pytest.raises(ModelError, match=r"11 positions .* sliding window of 10"):
                hidden_states(model, ids, mask)
        else:
            hidden_states(model, ids, mask)
    hidden_states(model, *padded([random_words(7, 1), random_words(3, 2)]))  # behind the tokens


# --- folders ---


def saved(method: str, folder: Path) -> LoadedModel:
    """A saved model with an adapter."""
    loaded = tiny_loaded("llama_gqa")
    loaded.model.save_pretrained(folder)
    loaded.speech.tokenizer.save_pretrained(folder)
    attach(loaded.model, method)
    save_adapter(loaded.model, folder)
    return loaded


@pytest.mark.parametrize("method", ATTACHED)
def test_save_and_load(method: str, tmp_path: Path) -> None:
    loaded = saved(method, tmp_path)
    again = load_model(str(tmp_path), MODEL)
    assert torch.equal(logits_of(again.model), logits_of(loaded.model))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert str(tmp_path) not in json.dumps(config)
    save_adapter(again.model, tmp_path / "copy")  # without PEFT's config class at hand
    third = tiny_model("llama_gqa")
    load_adapter(third, tmp_path / "copy")
    assert torch.equal(logits_of(third), logits_of(loaded.model))


def test_a_model_without_an_adapter_saves_none(tmp_path: Path) -> None:
    save_adapter(tiny_model("llama"), tmp_path)
    assert not list(tmp_path.iterdir())


def change_config(**changes: Any) -> Callable[[Path], None]:
    """Rewrite some keys; None takes a key out."""

    def damage(folder: Path) -> None:
        path = folder / "adapter_config.json"
        content = {**json.loads(path.read_text()), **changes}
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(kept))

    return damage


def unpickled(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def one_too_many(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({**tensors, "more": torch.zeros(1)}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("method", "damage", "message"),
    [
        ("prefix", lambda folder: (folder / "adapter_config.json").unlink(), "missing or damaged"),
        ("prefix", lambda folder: (folder / "adapter_config.json").write_text("{"), "damaged"),
        ("prefix", unpickled, "missing or damaged"),
        ("prefix", change_config(peft_type=None), "missing or damaged"),
        ("prefix", change_config(peft_type="LORA"), "is of kind LORA"),
        ("prefix", change_config(num_virtual_tokens=None), "adapter_config.json is damaged"),
        ("prefix", change_config(num_virtual_tokens=5), r"should be \(5, 120\) and is \(4, 120\)"),
        ("prefix", one_too_many, "more should be absent"),
        ("llama_adapter", change_config(adapter_len=2), r"should be \(1, 2, 40\)"),
        ("llama_adapter", change_config(adapter_layers=1), "should be absent"),
        ("llama_adapter", change_config(adapter_layers=3), "and is absent"),
        ("llama_adapter", change_config(adapter_layers=4), "the model has 3"),
        ("llama_adapter", one_too_many, "more should be absent"),
    ],
)
def test_a_damaged_adapter_is_refused(
    method: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    saved(method, tmp_path)
    damage(tmp_path / "adapter")
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path), MODEL)


def test_prompts_of_another_family_are_refused(tmp_path: Path) -> None:
    saved("llama_adapter", tmp_path)
    model = tiny_model("qwen2")
    with pytest.raises(ModelError, match="llama and mistral"):
        load_adapter(model, tmp_path)
    assert pre_hooks(model) == 0


def test_parameters_that_a_pass_in_inference_mode_moved_can_be_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attached = Attached(torch.nn.Linear(1, 1), {"gate": torch.ones(1)}, {"gate": torch.ones(1)}, {})
    attached._near["gate"] = torch.empty(1, device="meta")  # the model has been moved since
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self.clone())
    with torch.inference_mode():
        attached.place()
    moved = attached.parameters["gate"]
    assert not moved.is_inference()
    (moved * moved).sum().backward()
    assert moved.grad is not None
