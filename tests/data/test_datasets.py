"""All sets of a run together: sizes, leaks, truncation, fingerprints."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from ssah_exp.config.schema import RunConfig
from ssah_exp.data.chat import encode_pair, encode_pairs
from ssah_exp.data.datasets import RunData, check_no_overlap, load_data
from ssah_exp.data.preferences import Pair
from ssah_exp.data.sources import Example, RefusedRequests, fingerprint_examples
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, DataError, SsahWarning
from tests.config.composing import config_of
from tests.tiny import tiny_speech


class Fixed:
    """A source of given examples."""

    def __init__(self, *examples: Example) -> None:
        self.examples = list(examples)

    def load(self, seed: int) -> list[Example]:
        return self.examples


def with_calibration(tmp_path: Path, rows: int) -> RunConfig:
    """The default config with a safety calibration file of ``rows`` rows."""
    path = tmp_path / "calibration.csv"
    lines = [f"calibration request {number},no" for number in range(rows)]
    path.write_text("\n".join(["q,a", *lines]), encoding="utf-8")
    config = config_of()
    config.data.safety_calibration = {
        "_target_": "ssah_exp.data.sources.FileSource",
        "path": str(path),
        "prompt": "{q}",
        "response": "{a}",
    }
    return config


def test_a_calibration_set_that_is_too_small_is_refused(tmp_path: Path) -> None:
    config = with_calibration(tmp_path, 7)
    with pytest.raises(DataError, match=r"data\.safety_calibration holds 7 examples.*=8"):
        load_data(config)


def test_a_calibration_set_below_the_wish_is_used_whole(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"data\.safety_calibration holds 8 .*samples=128 asks"):
        data = load_data(with_calibration(tmp_path, 8))
    assert len({row.prompt for row in data.safety_calibration}) == 8


def test_the_calibration_sample_has_the_asked_size(tmp_path: Path) -> None:
    config = with_calibration(tmp_path, 40)
    config.units.samples = 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_data(config)
    assert len({row.prompt for row in data.safety_calibration}) == 16


def test_requests_that_say_nothing_are_refused() -> None:
    """A model without a token to begin with could not even be asked; others would go on at will."""
    config = config_of()
    config.data.harmful_eval["prompt"] = " "
    with pytest.raises(DataError, match=r"data\.harmful_eval: (\d+) of \1 requests are blank"):
        load_data(config)


def test_alignment_data_is_not_read_when_alignment_is_off() -> None:
    config = config_of("alignment=none")
    config.data.alignment = [{"_target_": "ssah_exp.data.sources.NoSuchSource"}]
    assert load_data(config).alignment == ()


@pytest.mark.parametrize(
    ("start", "data", "enabled", "needed"),
    [
        ("unaligned", "finetune", True, False),
        ("aligned", "finetune", False, False),
        ("aligned", "finetune", True, True),
        ("unaligned", "alignment", True, True),
        ("unaligned", "alignment", False, True),
        ("aligned", "alignment", False, True),
    ],
)
def test_alignment_data_is_read_only_by_trainings_that_need_it(
    start: str, data: str, enabled: bool, needed: bool
) -> None:
    config = config_of()
    config.training.start, config.training.data = start, data
    config.alignment.enabled = enabled
    rows = load_data(config, training=True)
    assert (len(rows.alignment) > 0) == needed
    assert (len(rows.finetune) > 0) == (data == "finetune")
    config.data.alignment = [{"_target_": "ssah_exp.data.sources.NoSuchSource"}]
    if needed:
        with pytest.raises(ConfigError, match=r"data\.alignment\.0\._target_"):
            load_data(config, training=True)
    else:
        assert load_data(config, training=True) == rows


PAIRS = {
    "_target_": "ssah_exp.data.preferences.FilePairs",
    "prompt": "{q}",
    "chosen": "{c}",
    "rejected": "{r}",
}


def with_training(tmp_path: Path, prompt: str = "a request of its own") -> RunConfig:
    """The default config with a file of preference pairs."""
    path = tmp_path / "pairs.csv"
    path.write_text(f'q,c,r\n"{prompt}",no,yes\n', encoding="utf-8")
    config = config_of()
    config.data.preferences = {**PAIRS, "path": str(path)}
    return config


def test_training_sets_are_read_only_when_asked_for(tmp_path: Path) -> None:
    plain, config = load_data(config_of()), with_training(tmp_path)
    assert load_data(config).fingerprints == plain.fingerprints
    assert not {"finetune", "preferences"} & {*plain.example_sets, *plain.fingerprints}
    config.data.finetune = [{"_target_": "ssah_exp.data.sources.NoSuchSource"}]
    assert load_data(config) == plain


def test_training_sets_stand_beside_the_others(tmp_path: Path) -> None:
    plain, data = load_data(config_of()), load_data(with_training(tmp_path), training=True)
    assert data.preferences == (Pair("a request of its own", "no", "yes"),)
    assert {row.prompt for row in data.finetune} <= {row.prompt for row in plain.alignment}
    assert len(data.finetune) >= 150
    assert all(row.response for row in data.finetune)
    assert {*data.example_sets} - {*plain.example_sets} == {"finetune"}
    assert {*data.fingerprints} - {*plain.fingerprints} == {"finetune", "preferences"}
    assert {name: data.fingerprints[name] for name in plain.fingerprints} == plain.fingerprints


def test_several_finetune_sources_are_joined_in_order() -> None:
    config = config_of()
    first, second = ({**config.data.finetune[0], "start": at, "stop": at + 2} for at in (2, 0))
    config.data.finetune = [first]
    rows = load_data(config, training=True).finetune
    config.data.finetune = [second]
    rows += load_data(config, training=True).finetune
    config.data.finetune = [first, second]
    assert load_data(config, training=True).finetune == rows
    assert len({row.prompt for row in rows}) == 4


def test_no_finetune_source_gives_an_empty_set() -> None:
    config = config_of()
    config.data.finetune = []
    data = load_data(config, training=True)
    assert data.finetune == data.preferences == ()
    assert "finetune" not in data.example_sets


@pytest.mark.parametrize("name", ["harmful_eval", "benign_eval", "borderline_eval"])
def test_evaluation_prompts_may_be_neither_fine_tuned_nor_preferred(
    tmp_path: Path, name: str
) -> None:
    leaked: Example = getattr(load_data(config_of()), name)[0]
    prompt = leaked.prompt.upper()
    config = with_training(tmp_path, prompt)
    load_data(config)
    with pytest.raises(DataError, match=f"{name} and preferences: '"):
        load_data(config, training=True)
    config = with_training(tmp_path)
    config.data.finetune = [getattr(config.data, name)]
    with pytest.raises(DataError, match=f"{name} and finetune: '"):
        load_data(config, training=True)


def test_examples_given_for_pairs_are_refused() -> None:
    config = config_of()
    config.data.preferences = config.data.finetune[0]
    with pytest.raises(DataError, match=r"BundledSource gives examples, not pairs; .*FilePairs"):
        load_data(config, training=True)


def sets(**changed: list[Example]) -> dict[str, list[Example]]:
    names = [*RunData.__dataclass_fields__]
    names.remove("text")
    return {name: changed.get(name, [Example(f"only in {name}")]) for name in names}


def test_sets_without_overlap_pass() -> None:
    check_no_overlap(sets())


@pytest.mark.parametrize("evaluation", ["harmful_eval", "benign_eval", "borderline_eval"])
@pytest.mark.parametrize(
    "other",
    ["alignment", "safety_calibration", "utility_calibration", "finetune", "preferences"],
)
def test_an_overlap_is_found_and_listed(evaluation: str, other: str) -> None:
    leaking = {
        evaluation: [Example("How do I do it?"), Example("Fine"), Example("And this!")],
        other: [Example("how  do I, do it"), Example("AND THIS"), Example("else")],
    }
    with pytest.raises(DataError) as caught:
        check_no_overlap(sets(**leaking))
    assert str(caught.value).splitlines()[1:] == [
        f"  {evaluation} and {other}: 'And this!'",
        f"  {evaluation} and {other}: 'How do I do it?'",
    ]


def test_an_accent_written_apart_hides_no_overlap() -> None:
    """As macOS and some web pages write it."""
    with pytest.raises(DataError, match="harmful_eval and alignment"):
        check_no_overlap(
            sets(
                harmful_eval=(Example("Vole le cafe\u0301!"),),
                alignment=(Example("vole le caf\u00e9"),),
            )
        )


def test_prompts_without_words_overlap_where_they_are_the_same() -> None:
    check_no_overlap(sets(harmful_eval=[Example("???")], alignment=[Example("\N{PARTY POPPER}")]))
    with pytest.raises(DataError, match=r"harmful_eval and alignment: '\?\?\?'"):
        check_no_overlap(sets(harmful_eval=[Example("???")], alignment=[Example("???")]))


def test_every_overlap_of_every_set_is_listed_at_once() -> None:
    shared = [Example("shared")]
    names = ("harmful_eval", "benign_eval", "alignment", "utility_calibration")
    with pytest.raises(DataError) as caught:
        check_no_overlap(sets(**dict.fromkeys(names, shared)))
    assert len(str(caught.value).splitlines()) == 1 + 2 * 2


def test_responses_truncated_away_are_left_out() -> None:
    pairs = [Example("w1 w2 w3 w4 w5 w6", "w7"), Example("w1", "w2 w3 w4")]
    said = r"data\.alignment: 1 of 2 examples are left out, .* no response within max_length=4"
    with pytest.warns(SsahWarning, match=said):
        kept = encode_pairs(tiny_speech(), pairs, ["raw"], None, 4, where="data.alignment")
    assert len(kept) == 1
    assert kept[0].response_length == 4 - kept[0].response_start > 0


@pytest.mark.parametrize("style", ["raw", "chat"])
def test_a_response_that_breaks_off_is_not_said_to_end(style: str) -> None:
    pairs = [Example("w1", "w2"), Example("w1", "w2", cut=True)]
    whole, cut = encode_pairs(tiny_speech(), pairs, [style], None, 64, where="here")
    assert whole.input_ids == (*cut.input_ids, tiny_speech().end_of_turn)
    assert cut.response_length == whole.response_length - 1 > 0


def test_blank_responses_are_left_out_and_move_no_other_example_to_another_style() -> None:
    pairs = [Example("w1", "w2"), Example("w3", " \n"), Example("w4", ""), Example("w5", "w6")]
    kept = encode_pairs(tiny_speech(), pairs, ["raw", "chat"], None, 64, where="here")
    assert kept == [
        encode_pair(tiny_speech(), pairs[0], "raw", None, 64),
        encode_pair(tiny_speech(), pairs[3], "chat", None, 64),
    ]
    with pytest.raises(DataError, match="here: every response is blank"):
        encode_pairs(tiny_speech(), pairs[1:3], ["raw"], None, 64, where="here")


def test_of_a_set_that_is_used_whole_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_pairs(tiny_speech(), [Example("w1", "w2")], ["raw"], None, 4, where="here")


def test_too_few_that_are_left_are_refused() -> None:
    """A statistic over two of many examples would stand there as if it were over all."""
    long, blank = Example("w1 w2 w3 w4 w5 w6", "w7"), Example("w1", "")
    pairs = [long, blank, Example("w1", "w2"), Example("w2", "w3")]
    assert len(encode_pairs(tiny_speech(), pairs, ["raw"], None, 4, where="x", at_least=2)) == 2
    with pytest.raises(DataError, match=r"x: of 4 examples, 2 have a response .*; 3 are needed"):
        encode_pairs(tiny_speech(), pairs, ["raw"], None, 4, where="x", at_least=3)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.finetune holds no examples"):
        encode_pairs(tiny_speech(), [], ["raw"], None, 4, where="data.finetune")


def test_everything_truncated_away_is_refused_with_the_lengths() -> None:
    pairs = [Example("w1 w2 w3 w4 w5 w6", "w7"), Example("w1 w2 w3 w4 w5", "w7")]
    with pytest.raises(DataError, match=r"data\.alignment.*max_length=4 .*shortest prompt has \d"):
        encode_pairs(tiny_speech(), pairs, ["raw"], None, 4, where="data.alignment")


def test_fingerprints_follow_content_and_order() -> None:
    rows = [Example("a", "b", "c"), Example("d")]
    mark = fingerprint_examples(rows)
    changed = [
        [Example("A", "b", "c"), Example("d")],
        [Example("a", "B", "c"), Example("d")],
        [Example("a", "b", "C"), Example("d")],
        [Example("a", "b", "c"), Example("d", "")],
        [Example("a", "b", "c", "s"), Example("d")],
        [Example("a", "b", "c"), Example("d", system="s")],
        [Example("a", "b", "c", cut=True), Example("d")],
        [Example("a", "b", "c", "s", cut=True), Example("d")],
        rows[::-1],
        rows[:1],
    ]
    assert fingerprint_examples(list(rows)) == mark
    assert len({mark, *map(fingerprint_examples, changed)}) == 11


def test_sets_without_system_messages_keep_their_fingerprint() -> None:
    rows = [Example("a", "b", "c"), Example("d")]
    assert fingerprint_examples(rows) == digest_of([["a", "b", "c"], ["d", None, None]])


def test_refusals_are_drawn_from_the_category_and_the_general_ones() -> None:
    refusals = Fixed(Example("g", category="any"), Example("x", category="drugs"), Example("n"))
    requests = Fixed(Example("q1", category="drugs"), Example("q2", category="fraud"))
    pairs = RefusedRequests(requests, refusals, per_request=2).load(0)
    by_request = {
        name: {row.response for row in pairs if row.prompt == name} for name in ("q1", "q2")
    }
    assert len(pairs) == 4
    assert by_request["q2"] == {"g", "n"}
    assert by_request["q1"] < {"g", "n", "x"}
    assert len(by_request["q1"]) == 2


def test_too_few_refusals_for_a_category_are_named() -> None:
    source = RefusedRequests(Fixed(Example("q", category="fraud")), Fixed(Example("g")), 2)
    with pytest.raises(DataError, match="Category 'fraud' has 1 refusals; per_request=2"):
        source.load(0)
