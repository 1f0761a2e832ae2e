"""Windows of held-out text and their losses."""

from __future__ import annotations

import pytest
import torch

from ssah_exp.errors import DataError
from ssah_exp.evaluation.perplexity import require_window, text_windows, window_losses
from tests import tiny

IDS = tiny.random_words(53, 4)
TEXT = tiny.tiny_tokenizer().decode(IDS)


def test_windows_are_whole_and_do_not_overlap() -> None:
    windows = text_windows(tiny.tiny_speech(), TEXT, 10)
    assert windows.dtype == torch.int64
    assert windows.tolist() == [IDS[at : at + 10] for at in (0, 10, 20, 30, 40)]


def test_max_tokens_limits_the_text() -> None:
    windows = text_windows(tiny.tiny_speech(), TEXT, 10, 29)
    assert windows.tolist() == [IDS[:10], IDS[10:20]]


def test_every_window_may_begin_with_the_first_token_of_a_text() -> None:
    """It is one of the window's tokens, and none of the text's."""
    speech = tiny.tiny_speech()
    windows = text_windows(speech, TEXT, 10, 29, bos=True)
    first = speech.tokenizer.bos_token_id
    assert windows.dtype == torch.int64
    assert windows.tolist() == [[first, *IDS[at : at + 9]] for at in (0, 9, 18)]
    with pytest.raises(DataError, match="has 53 tokens, fewer than one window of 54"):
        require_window(speech, TEXT, 55, bos=True)
    require_window(speech, TEXT, 54, bos=True)


def test_a_tokenizer_without_a_first_token_cannot_begin_windows() -> None:
    speech = tiny.tiny_speech()
    speech.tokenizer.bos_token = None
    for cut in (text_windows, require_window):
        with pytest.raises(DataError, match=r"token, which the tokenizer lacks"):
            cut(speech, TEXT, 10, bos=True)


def test_text_of_exactly_one_window() -> None:
    windows = text_windows(tiny.tiny_speech(), TEXT, 53)
    assert windows.tolist() == [IDS]


@pytest.mark.parametrize(
    ("text", "max_tokens", "tokens"), [(TEXT, None, 53), (TEXT, 20, 20), ("", None, 0)]
)
def test_short_text_is_an_error(text: str, max_tokens: int | None, tokens: int) -> None:
    with pytest.raises(DataError, match=f"has {tokens} tokens, fewer than one window of 54"):
        text_windows(tiny.tiny_speech(), text, 54, max_tokens)
    with pytest.raises(DataError, match=f"has {tokens} tokens, fewer than one window of 54"):
        require_window(tiny.tiny_speech(), text, 54, max_tokens)


@pytest.mark.parametrize("blanks", ["", " " * 5000])
def test_a_text_that_fills_a_window_is_taken_wherever_its_words_are(blanks: str) -> None:
    require_window(tiny.tiny_speech(), blanks + TEXT, 53)
    require_window(tiny.tiny_speech(), blanks + TEXT, 20, 20)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_losses_equal_the_models_own(family: str, batch_size: int) -> None:
    loaded = tiny.tiny_loaded(family)
    windows = torch.tensor(IDS[:50]).reshape(5, 10)
    done: list[int] = []
    losses = window_losses(loaded, windows, batch_size, done.append)
    with torch.no_grad():
        plain = [
            float(loaded.model(input_ids=window[None], labels=window[None]).loss)
            for window in windows
        ]
    assert losses == pytest.approx(plain, rel=1e-4)
    assert sum(done) == 5
