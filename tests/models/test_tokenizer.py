"""Special tokens are resolved or refused, never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import processors

from ssah_exp.digest import digest_of
from ssah_exp.errors import ModelError
from ssah_exp.models.tokenizer import answer_stops, check_tokenizer, render_chat
from tests import tiny


def test_special_tokens_are_resolved() -> None:
    speech = tiny.tiny_speech()
    assert speech.end_of_turn == tiny.SPECIALS.index("<|end|>")
    assert speech.stop_ids == (tiny.SPECIALS.index("</s>"), tiny.SPECIALS.index("<|end|>"))
    assert speech.pad_id == 0


def test_a_tokenizer_that_ends_every_text_is_refused() -> None:
    """A raw prompt would be continued behind the end of a text."""
    tokenizer = tiny.tiny_tokenizer()
    ends = [("<s>", 1), ("</s>", 2)]
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=ends)
    assert tokenizer("w1").input_ids == [1, tiny.SPECIALS.index("<|end|>") + 2]
    check_tokenizer(tokenizer, "<|end|>", None)
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    with pytest.raises(ModelError, match="ends every text with '</s>'"):
        check_tokenizer(tokenizer, "<|end|>", None)


def test_an_answer_of_a_model_without_a_config_ends_where_its_template_ends_it() -> None:
    tokenizer = tiny.tiny_tokenizer()
    eos, end = tiny.SPECIALS.index("</s>"), tiny.SPECIALS.index("<|end|>")
    assert answer_stops(tokenizer, 9) == [eos, end, 9]
    assert answer_stops(tokenizer, [eos, 11]) == [eos, end, 11]
    # A word is what others answer with, too: it ends nothing.
    tokenizer.chat_template = tiny.TEMPLATE.replace("<|end|>", "w3")
    assert answer_stops(tokenizer, None) == [eos]


def test_a_text_is_read_as_the_model_wrote_it() -> None:
    """Llama 3's tokenizer asks for blanks before punctuation to be taken away."""
    tokenizer = tiny.tiny_tokenizer(clean_up_tokenization_spaces=True)
    tokenizer.add_tokens(["!", "n't"])
    ids = tokenizer("w1 ! n't !").input_ids
    assert tokenizer.decode(ids) == "w1!n't!"
    check_tokenizer(tokenizer, "<|end|>", None)
    assert tokenizer.decode(ids) == "w1 ! n't !"
    assert tokenizer.batch_decode([ids]) == ["w1 ! n't !"]


def test_missing_pad_token_must_be_named() -> None:
    with pytest.raises(ModelError, match=r"model\.pad_token"):
        check_tokenizer(tiny.tiny_tokenizer(pad_token=None), "<|end|>", None)


def test_named_pad_token_is_set() -> None:
    tokenizer = tiny.tiny_tokenizer(pad_token=None)
    speech = check_tokenizer(tokenizer, "<|end|>", "</s>")
    assert speech.pad_id == tokenizer.pad_token_id == 2


def test_pad_token_of_the_tokenizer_comes_first() -> None:
    assert check_tokenizer(tiny.tiny_tokenizer(), "<|end|>", "</s>").pad_id == 0


@pytest.mark.parametrize(
    ("end_of_turn", "pad_token", "key"),
    [("<end>", None, "model.end_of_turn=<end>"), ("<|end|>", "<void>", "model.pad_token=<void>")],
)
def test_token_outside_the_vocabulary_is_refused(
    end_of_turn: str, pad_token: str | None, key: str
) -> None:
    with pytest.raises(ModelError, match=key):
        check_tokenizer(tiny.tiny_tokenizer(pad_token=None), end_of_turn, pad_token)


def test_end_of_turn_must_close_the_template() -> None:
    with pytest.raises(ModelError, match="does not close"):
        check_tokenizer(tiny.tiny_tokenizer(), "</s>", None)


def test_what_follows_the_answer_is_its_end_not_what_ends_the_template() -> None:
    """Phi-3's template ends with another token; with that one, answers would never end."""
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = tiny.TEMPLATE.replace("{% endif %}", "{% else %}</s>{% endif %}")
    assert check_tokenizer(tokenizer, "<|end|>", None).end_of_turn == 7
    with pytest.raises(ModelError, match=r"</s> does not close .*'<\|end\|></s>' does"):
        check_tokenizer(tokenizer, "</s>", None)


def test_further_stops_are_the_model_s_own() -> None:
    speech = check_tokenizer(tiny.tiny_tokenizer(), "<|end|>", None, {3, 2})
    assert speech.stop_ids == (2, 3, 7)


TURNS = [{"role": "system", "content": "w1"}, {"role": "user", "content": "w2"}]


def test_a_template_that_asks_for_the_date_gives_the_same_text_every_day() -> None:
    """As Llama 3.2's, SmolLM3's and Granite's do; the run id knows no day."""
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}"
        '{{ day }} {{ strftime_now( "%B" ) }} ' + tiny.TEMPLATE
    )
    text = render_chat(tokenizer, TURNS)
    assert text == "26 Jul 2024 July <s><|system|> w1 <|end|><|user|> w2 <|end|><|assistant|> "


def test_results_of_a_template_that_told_the_day_are_not_taken_for_these() -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%Y') }} " + tiny.TEMPLATE
    told = check_tokenizer(tokenizer, "<|end|>", None).template_hash
    tokenizer.chat_template = "{{ '2024' }} " + tiny.TEMPLATE
    assert check_tokenizer(tokenizer, "<|end|>", None).template_hash == told


def test_no_thought_comes_before_an_answer() -> None:
    """As Qwen3's template has it; results from before it was told so are not taken for these."""
    tokenizer = tiny.tiny_tokenizer()
    unthinking = "{% if enable_thinking is defined and enable_thinking is false %}w3 w4 {% endif %}"
    tokenizer.chat_template = tiny.TEMPLATE.replace("|assistant|> ", f"|assistant|> {unthinking}")
    assert render_chat(tokenizer, TURNS[1:]) == "<s><|user|> w2 <|end|><|assistant|> w3 w4 "
    speech = check_tokenizer(tokenizer, "<|end|>", None)
    parts = {"template": tokenizer.chat_template, "stop": list(speech.stop_ids), "pad": 0}
    assert speech.template_hash != digest_of(parts)
    assert tiny.tiny_speech().template_hash == digest_of({**parts, "template": tiny.TEMPLATE})


def test_turns_that_a_template_refuses_are_a_model_error() -> None:
    """Gemma's knows no system role."""
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        + tiny.TEMPLATE
    )
    with pytest.raises(ModelError, match=r"turns system, user: No system role.* no style with a"):
        render_chat(tokenizer, TURNS)
    assert render_chat(tokenizer, TURNS[1:], answer_next=False) == "<s><|user|> w2 <|end|>"


def test_base_tokenizer_without_template_passes() -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = None
    assert check_tokenizer(tokenizer, "</s>", None).stop_ids == (2,)


def test_without_a_template_the_hash_sees_which_stop_ends_a_turn() -> None:
    """Both end an answer, and one of them is written behind every answer that is learned."""
    tokenizer = tiny.tiny_tokenizer()
    with_template = {
        check_tokenizer(tokenizer, "<|end|>", None, [2, 7]).template_hash,
        replace(check_tokenizer(tokenizer, "<|end|>", None, [2, 7]), end_of_turn=2).template_hash,
    }
    assert len(with_template) == 1, "it is the template that tells"
    tokenizer.chat_template = None
    stops = [2, tiny.SPECIALS.index("<|end|>")]
    found = [check_tokenizer(tokenizer, end, None, stops) for end in ("<|end|>", "</s>")]
    assert found[0].stop_ids == found[1].stop_ids
    assert found[0].template_hash != found[1].template_hash


def test_template_hash_sees_template_and_tokens() -> None:
    speech = tiny.tiny_speech()
    tokenizer = tiny.tiny_tokenizer()
    assert check_tokenizer(tokenizer, "<|end|>", None).template_hash == speech.template_hash
    tokenizer.chat_template = tiny.TEMPLATE + " "
    assert check_tokenizer(tokenizer, "<|end|>", None).template_hash != speech.template_hash
    other_pad = check_tokenizer(tiny.tiny_tokenizer(pad_token="<unk>"), "<|end|>", None)
    assert other_pad.template_hash != speech.template_hash
