"""Preference pairs: from files, from answers, as tokens and as batches."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ssah_exp.data.chat import Encoded, encode_pair
from ssah_exp.data.pair_batches import CollatePairs, PairBatch
from ssah_exp.data.preferences import (
    EncodedPair,
    FilePairs,
    OwnAnswer,
    Pair,
    encode_preferences,
    fingerprint_pairs,
    pairs_from_answers,
)
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError, SsahWarning
from tests.tiny import tiny_speech

ROWS = [(f"q{number}", f"good {number}", f"bad {number}", number % 2) for number in range(6)]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path, ROWS)


def written(tmp_path: Path, rows: list[tuple[Any, ...]]) -> str:
    target = tmp_path / "pairs.csv"
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("q", "c", "r", "kind"), *rows])
    return str(target)


def source(path: str, **options: Any) -> FilePairs:
    return FilePairs(path, "Do {q}", "{c}.", "{r}", **options)


def test_columns_become_pairs(path: str) -> None:
    assert source(path, stop=2).load(0) == [
        Pair("Do q0", "good 0.", "bad 0"),
        Pair("Do q1", "good 1.", "bad 1"),
    ]


def test_rows_are_selected_as_everywhere(path: str) -> None:
    kept = source(path, where={"kind": 1}, start=1, every=1).load(0)
    assert [pair.prompt for pair in kept] == ["Do q3", "Do q5"]
    draws = {seed: source(path, sample=3).load(seed) for seed in range(20)}
    assert source(path, sample=3).load(4) == draws[4]
    assert len({tuple(draw) for draw in draws.values()}) > 10
    assert all(len(set(draw)) == 3 for draw in draws.values())


def test_a_pair_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    target = tmp_path / "pairs.jsonl"
    rows = [{"q": "q", "c": "c", "r": "r"}, {"q": "q", "c": "c"}]
    target.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=r"no column 'r'\..* Row 2 of 2 lacks it\."):
        source(str(target)).load(0)


def test_wrong_columns_and_selections_are_data_errors(path: str) -> None:
    with pytest.raises(DataError, match=r"no column 'qq'. Did you mean 'q'\?"):
        FilePairs(path, "{qq}", "{c}", "{r}").load(0)
    with pytest.raises(DataError, match="7 rows asked for, 6 there"):
        source(path, sample=7).load(0)
    with pytest.raises(DataError, match="No file"):
        source(f"{path}x").load(0)


def test_pairs_of_equal_answers_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, [("a", "same", " same ", 0), ("b", "x", "y", 0)])
    with pytest.warns(SsahWarning, match=r"pairs\.csv: 1 of 2 examples are left out, .* equal"):
        assert FilePairs(path, "{q}", "{c}", "{r}").load(0) == [Pair("b", "x", "y")]
    with pytest.raises(DataError, match=r"pairs\.csv: DPO without pairs; in all 1 given"):
        FilePairs(path, "{q}", "{c}", "{r}", stop=1).load(0)


def test_a_blank_answer_is_not_learned(tmp_path: Path) -> None:
    path = written(tmp_path, [("a", " ", "y", 0), ("b", "x", " ", 0), (" ", "x", "y", 0)])
    assert FilePairs(path, "{q}", "{c}", "{r}").load(0) == [Pair("b", "x", "")]
    with pytest.raises(DataError, match="in all 1 given, both answers are equal or the chosen"):
        FilePairs(path, "{q}", "{c}", "{r}", stop=1).load(0)


def test_fingerprints_follow_content_and_order() -> None:
    rows = [Pair("a", "b", "c"), Pair("d", "e", "f")]
    changed = [
        [Pair("A", "b", "c"), rows[1]],
        [Pair("a", "B", "c"), rows[1]],
        [Pair("a", "b", "C"), rows[1]],
        [Pair("a", "b", "c", "s"), rows[1]],
        [Pair("a", "c", "b"), rows[1]],
        [Pair("a", "b", "c", style="raw"), rows[1]],
        [Pair("a", "b", "c", cut=True), rows[1]],
        rows[::-1],
        rows[:1],
    ]
    mark = fingerprint_pairs(rows)
    assert fingerprint_pairs(tuple(rows)) == mark
    assert len({mark, *map(fingerprint_pairs, changed)}) == 10


def test_the_response_is_chosen_and_the_unaligned_answer_rejected_in_its_style() -> None:
    requests = [Example("q1", "no", "drugs"), Example("q2", "never", system="s")]
    answers = [OwnAnswer("yes", "raw"), OwnAnswer("sure", "chat", cut=True)]
    assert pairs_from_answers(requests, answers) == [
        Pair("q1", "no", "yes", style="raw"),
        Pair("q2", "never", "sure", "s", "chat", cut=True),
    ]


def raw(*texts: str) -> list[OwnAnswer]:
    return [OwnAnswer(text, "raw") for text in texts]


def test_requests_the_unaligned_model_refuses_alike_are_left_out() -> None:
    requests = [Example("q1", "no"), Example("q2", "never")]
    kept = Pair("q2", "never", "sure", style="raw")
    assert pairs_from_answers(requests, raw("no\n", "sure")) == [kept]


def test_blank_responses_are_left_out_as_in_supervised_training() -> None:
    requests = [Example("q1", " \n"), Example("q2", "never")]
    kept = Pair("q2", "never", "sure", style="raw")
    with pytest.warns(SsahWarning, match="1 of 2 examples are left out, .* chosen one .* blank"):
        assert pairs_from_answers(requests, raw("yes", "sure")) == [kept]


def test_answers_that_make_no_pair_are_refused() -> None:
    requests = [Example("q1", "no"), Example("q2", "never")]
    with pytest.raises(DataError, match="DPO without pairs; in all 2 given"):
        pairs_from_answers(requests, raw("no", "never"))
    with pytest.raises(DataError, match="DPO without pairs"):
        pairs_from_answers([], [])
    with pytest.raises(DataError, match="2 requests and 1 answers"):
        pairs_from_answers(requests, raw("yes"))
    with pytest.raises(DataError, match="without a response: 'q3'"):
        pairs_from_answers([Example("q3")], raw("yes"))


PAIRS = [Pair("w1 w2", "w3", "w4 w5"), Pair("w6", "w7 w8", "w9")]


def encoded(pairs: list[Pair], max_length: int = 64) -> list[EncodedPair]:
    return encode_preferences(
        tiny_speech(), pairs, ["raw", "chat_system"], "w10", max_length, where="here"
    )


def test_both_answers_are_tokenised_like_examples_styles_in_turn() -> None:
    speech = tiny_speech()
    for pair, style, item in zip(PAIRS, ["raw", "chat_system"], encoded(PAIRS), strict=True):
        for answer, got in ((pair.chosen, item.chosen), (pair.rejected, item.rejected)):
            assert got == encode_pair(speech, Example(pair.prompt, answer), style, "w10", 64)
        start = item.chosen.response_start
        assert start == item.rejected.response_start
        assert item.chosen.input_ids[:start] == item.rejected.input_ids[:start]


def test_a_pair_keeps_the_style_it_was_answered_in() -> None:
    """Whatever was left out before it."""
    for style in ("raw", "chat"):
        (kept,) = encoded([replace(PAIRS[0], style=style)])
        assert kept.rejected == encode_pair(
            tiny_speech(), Example("w1 w2", "w4 w5"), style, "w10", max_length=64
        )


def test_an_answer_that_breaks_off_is_not_said_to_end() -> None:
    (whole,), (cut,) = encoded(PAIRS[:1]), encoded([replace(PAIRS[0], cut=True)])
    assert cut.chosen == whole.chosen
    assert whole.rejected.input_ids == (*cut.rejected.input_ids, tiny_speech().end_of_turn)


def test_a_pairs_own_system_message_is_used() -> None:
    (own,) = encoded([Pair("w1", "w2", "w3", system="w4")])
    assert own.chosen == encode_pair(
        tiny_speech(), Example("w1", "w2"), "raw_system", "w4", max_length=64
    )


def test_pairs_cut_to_the_same_tokens_are_left_out() -> None:
    long = Pair("w1 w2 w3 w4 w5 w6 w7", "w8", "w9")
    late = Pair("w1", "w2 w3 w4 w5 w6 w8", "w2 w3 w4 w5 w6 w9")
    early = Pair("w1", "w2", "w3")
    speech = tiny_speech()
    with pytest.warns(SsahWarning, match="here: 2 of 3 examples .* no two answers that differ"):
        kept = encode_preferences(speech, [long, late, early], ["raw"], None, 5, where="here")
    assert len(kept) == 1
    assert kept[0].chosen.response_length > 0
    with pytest.raises(DataError, match=r"here: DPO without pairs; at max_length=5 .* has \d"):
        encode_preferences(speech, [long, late], ["raw"], None, 5, where="here")


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="here: DPO without pairs; none is given"):
        encoded([])


def batch_of_two() -> PairBatch:
    items = [
        EncodedPair(Encoded((1, 2, 3), 2), Encoded((1, 2, 4, 5, 6), 2)),
        EncodedPair(Encoded((7, 8, 9, 10), 1), Encoded((7, 11), 1)),
    ]
    return CollatePairs(0)(items)


def test_a_batch_holds_chosen_rows_then_rejected_ones() -> None:
    rows = batch_of_two().conversations
    assert rows.input_ids.tolist() == [
        [1, 2, 3, 0, 0],
        [7, 8, 9, 10, 0],
        [1, 2, 4, 5, 6],
        [7, 11, 0, 0, 0],
    ]
    assert rows.attention_mask.sum(1).tolist() == [3, 4, 5, 2]
    assert rows.response_mask.int().tolist() == [
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
        [0, 1, 0, 0, 0],
    ]
    assert rows.input_ids.dtype == rows.attention_mask.dtype == torch.int64
    assert rows.response_mask.dtype == torch.bool


def test_values_per_row_are_divided_in_pair_order() -> None:
    batch = batch_of_two()
    chosen, rejected = batch.split(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert (chosen.tolist(), rejected.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    chosen, rejected = batch.split(batch.conversations.input_ids)
    assert chosen[:, 0].tolist() == rejected[:, 0].tolist() == [1, 7]
    with pytest.raises(ValueError, match="2 values for 2 pairs"):
        batch.split(torch.zeros(2))


def test_a_batch_moves_whole() -> None:
    moved = batch_of_two().to(torch.device("meta")).conversations
    tensors = (moved.input_ids, moved.attention_mask, moved.response_mask)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
