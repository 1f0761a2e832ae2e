"""Files a user names: every format, every way to select, every way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.data.files import read_texts
from ssah_exp.data.selection import counting_blanks
from ssah_exp.data.sources import Example, FileSource, FileText, read_rows
from ssah_exp.errors import DataError

ROWS = [
    {"goal": "first", "answer": "one", "kind": "a"},
    {"goal": "second, with comma", "answer": "two", "kind": "b"},
    {"goal": "third\nwith a line break", "answer": "three", "kind": "a"},
    {"goal": "fourth", "answer": "four", "kind": "a"},
]


def delimited(mark: str) -> str:
    lines = [list(ROWS[0]), *(row.values() for row in ROWS)]
    return "\n".join(mark.join(f'"{cell}"' for cell in line) for line in lines)


CONTENT = {
    "csv": delimited(","),
    "tsv": delimited("\t"),
    "json": json.dumps(ROWS),
    "jsonl": "\n\n".join(json.dumps(row) for row in ROWS) + "\n",
}


@pytest.mark.parametrize("kind", sorted(CONTENT))
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, kind: str) -> None:
    """Spreadsheets write one."""
    target = tmp_path / f"rows.{kind}"
    target.write_text(CONTENT[kind], encoding="utf-8-sig")
    assert [row["goal"] for row in read_rows(target)] == [row["goal"] for row in ROWS]


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    target = tmp_path / "text.txt"
    target.write_text("first\nsecond\n", encoding="utf-8-sig")
    assert FileText(str(target)).load_text() == "first\nsecond\n"
    assert read_rows(target)[0] == {"line": "first"}


@pytest.fixture(params=sorted(CONTENT))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same four rows in every format."""
    target = tmp_path / f"rows.{request.param}"
    target.write_text(CONTENT[request.param], encoding="utf-8")
    return target


@pytest.fixture
def csv_path(tmp_path: Path) -> str:
    target = tmp_path / "rows.csv"
    target.write_text(CONTENT["csv"], encoding="utf-8")
    return str(target)


def test_text_cut_at_a_comma_is_refused(tmp_path: Path) -> None:
    """Without quotes half of a request would be asked, and nothing said."""
    target = tmp_path / "rows.csv"
    target.write_text("goal,answer\nfirst,one\nWrite a poem, please,two\n", encoding="utf-8")
    said = r"malformed: .* line 3 has more cells .* contains ',' in double quotes"
    with pytest.raises(DataError, match=said):
        FileSource("{goal}", path=str(target)).load(0)
    target.write_text("goal,answer\nfirst,one,, \n", encoding="utf-8")  # a spreadsheet's
    assert FileSource("{goal}", "{answer}", path=str(target)).load(0) == [Example("first", "one")]


@pytest.mark.parametrize(("kind", "mark"), [("csv", ","), ("tsv", "\t")])
def test_text_cut_at_a_line_break_is_refused(tmp_path: Path, kind: str, mark: str) -> None:
    """Without quotes two halves of a request would be asked."""
    target = tmp_path / f"rows.{kind}"
    rows = [["goal", "answer"], ["first", "one"], ["Write a poem"], ["about spring", "two"]]
    target.write_text("\n".join(map(mark.join, rows)), encoding="utf-8")
    said = r"malformed: .* line 3 has fewer cells .* contains a line break in double quotes"
    with pytest.raises(DataError, match=said):
        FileSource("{goal}", path=str(target)).load(0)
    unnamed = f"goal{mark}answer{mark}\nfirst{mark}one\n"  # a spreadsheet's column of nothing
    target.write_text(unnamed, encoding="utf-8")
    assert FileSource("{goal}", path=str(target)).load(0) == [Example("first")]
    target.write_text(f"goal{mark}answer\nfirst{mark}one\n \n", encoding="utf-8")  # a blank row
    assert FileSource("{goal}", path=str(target)).load(0) == [Example("first")]


def test_a_file_that_may_not_be_read_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("goal\nfirst\n", encoding="utf-8")

    def forbidden(path: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    monkeypatch.setattr(Path, "read_text", forbidden)
    said = r"rows\.csv cannot be read: Permission denied"
    with pytest.raises(DataError, match=said):
        FileSource("{goal}", path=str(target)).load(0)
    with pytest.raises(DataError, match=said):
        FileText(str(target)).load_text()


@pytest.mark.parametrize("content", ['goal\n"first\nsecond\nthird\n', 'goal\n"first" second\n'])
def test_a_quote_that_nothing_closes_does_not_swallow_rows(tmp_path: Path, content: str) -> None:
    target = tmp_path / "rows.csv"
    target.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.csv is malformed"):
        FileSource("{goal}", path=str(target)).load(0)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_quote_within_a_cell_is_told_where_and_how(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"rows.{kind}"
    target.write_text('goal\nfirst\n"Sure" is what to say\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"malformed: .*, in line 3; .* each of its own doubled$"):
        read_rows(target)


def test_rows_that_ask_nothing_are_none(tmp_path: Path) -> None:
    """Spreadsheets end in blank rows: an empty request would be asked, judged and counted."""
    target = tmp_path / "rows.csv"
    target.write_text("goal,kind\nfirst,a\n,\n  ,a\nsecond,a\n,\n", encoding="utf-8")
    path = str(target)
    asked = [Example("first"), Example("second")]
    assert FileSource("{goal}", path=path).load(0) == asked
    assert FileSource("{goal}", where={"kind": "a"}, start=1, path=path).load(0) == asked[1:]
    with pytest.raises(DataError, match="3 rows asked for, 2 there"):
        FileSource("{goal}", sample=3, path=path).load(0)
    assert len(FileSource("", "{goal}", path=path).load(0)) == 5  # meant so


def test_requests_that_are_all_blank_are_called_so(tmp_path: Path) -> None:
    """No row "matches" would send people to ``where``, which they may not have set."""
    target = tmp_path / "rows.csv"
    target.write_text("goal,kind\n,a\n ,a\nfirst,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.csv: the request is blank in all of 2 rows\.$"):
        FileSource("{goal}", where={"kind": "a"}, path=str(target)).load(0)
    with pytest.raises(DataError, match=r"no row matches where=.'kind': 'c'"):
        FileSource("{goal}", where={"kind": "c"}, path=str(target)).load(0)


def test_a_number_that_is_none_is_an_empty_cell(tmp_path: Path) -> None:
    """Python writes what pandas has for an empty cell as NaN."""
    target = tmp_path / "rows.jsonl"
    target.write_text('{"q": "Add.", "more": NaN}\n{"q": NaN, "more": 3}\n', encoding="utf-8")
    assert FileSource("{q}\n{more}", path=str(target)).load(0) == [Example("Add."), Example("3")]
    assert FileSource("{q}", "{more}", path=str(target)).load(0) == [Example("Add.", "")]


def test_every_format_gives_the_same_examples(path: Path) -> None:
    source = FileSource("{goal}", "{answer}!", "{kind}", path=str(path))
    expected = [Example(row["goal"], row["answer"] + "!", row["kind"]) for row in ROWS]
    assert source.load(0) == expected


def test_a_text_file_has_one_column_and_skips_blank_lines(tmp_path: Path) -> None:
    target = tmp_path / "goals.txt"
    target.write_text("  first  \n\nsecond\n", encoding="utf-8")
    assert FileSource("Do: {line}", path=str(target)).load(0) == [
        Example("Do: first"),
        Example("Do: second"),
    ]


def test_columns_are_joined_and_trimmed(tmp_path: Path) -> None:
    target = tmp_path / "alpaca.json"
    target.write_text(json.dumps([{"instruction": "Add.", "input": None}]), encoding="utf-8")
    assert FileSource("{instruction}\n{input}", path=str(target)).load(0)[0].prompt == "Add."


def goals(source: FileSource, seed: int = 0) -> list[str]:
    return [example.prompt.split()[0].strip(",") for example in source.load(seed)]


def test_where_comes_before_start_and_stop(csv_path: str) -> None:
    kept = FileSource("{goal}", where={"kind": "a"}, start=1, stop=3, path=csv_path)
    assert goals(kept) == ["third", "fourth"]
    assert goals(FileSource("{goal}", start=1, stop=2, path=csv_path)) == ["second"]


def test_every_takes_a_stride_after_start_and_stop(csv_path: str) -> None:
    assert goals(FileSource("{goal}", every=2, path=csv_path)) == ["first", "third"]
    assert goals(FileSource("{goal}", start=1, every=2, path=csv_path)) == ["second", "fourth"]
    with pytest.raises(DataError, match="every=0 is below 1"):
        FileSource("{goal}", every=0, path=csv_path).load(0)
    for name in ("start", "stop"):  # as slices they would count from the end
        with pytest.raises(DataError, match=f"{name}=-1 is below 0"):
            FileSource("{goal}", path=csv_path, **{name: -1}).load(0)


def test_where_compares_numbers_as_they_are_written(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    target.write_text(json.dumps([{"q": "x", "n": 1}, {"q": "y", "n": 2}]), encoding="utf-8")
    assert FileSource("{q}", where={"n": "2"}, path=str(target)).load(0) == [Example("y")]


def test_a_sample_is_drawn_by_the_seed_from_the_selected_rows(csv_path: str) -> None:
    source = FileSource("{goal}", where={"kind": "a"}, sample=2, path=csv_path)
    draws = {seed: goals(source, seed) for seed in range(20)}
    assert goals(source, 3) == draws[3]
    assert all(len(set(draw)) == 2 and "second" not in draw for draw in draws.values())


def test_every_seed_draws_its_own_sample_and_0_is_a_seed(tmp_path: Path) -> None:
    target = tmp_path / "many.txt"
    target.write_text("\n".join(f"goal{number}" for number in range(200)), encoding="utf-8")
    source = FileSource("{line}", sample=20, path=str(target))
    assert len({tuple(goals(source, seed)) for seed in range(30)}) == 30


def test_a_sample_larger_than_the_set_is_refused(csv_path: str) -> None:
    with pytest.raises(DataError, match="5 rows asked for, 4 there"):
        FileSource("{goal}", sample=5, path=csv_path).load(0)


@pytest.mark.parametrize("number", [0, -1])
def test_no_fewer_than_one_row_can_be_drawn(csv_path: str, number: int) -> None:
    with pytest.raises(DataError, match=f"sample={number} is below 1"):
        FileSource(path=csv_path, prompt="{goal}", sample=number).load(0)


def test_extract_finds_the_request_between_tags(tmp_path: Path) -> None:
    target = tmp_path / "tags.json"
    target.write_text(json.dumps([{"p": "<s>[INST]  two\nlines [/INST]"}]), encoding="utf-8")
    source = FileSource("{p}", extract=r"\[INST\](.*?)\[/INST\]", path=str(target))
    assert source.load(0) == [Example("two\nlines")]


def test_an_extracted_request_that_is_blank_is_left_out(tmp_path: Path) -> None:
    target = tmp_path / "tags.json"
    rows = [{"p": f"[INST]{text}[/INST]"} for text in ("  ", "w1", "")]
    target.write_text(json.dumps(rows), encoding="utf-8")
    source = FileSource("{p}", extract=r"\[INST\](.*?)\[/INST\]", path=str(target))
    with counting_blanks() as blank:
        assert source.load(0) == [Example("w1")]
    assert list(blank.values()) == [2]


def test_a_group_that_takes_no_part_matches_nothing(csv_path: str) -> None:
    with pytest.raises(DataError, match="matches nothing in 'first'"):
        FileSource("{goal}", extract="(nothing)?first", path=csv_path).load(0)


def test_extract_that_matches_nothing_names_the_row(csv_path: str) -> None:
    with pytest.raises(DataError, match="matches nothing in 'first'"):
        FileSource("{goal}", extract="<(.*)>", path=csv_path).load(0)


@pytest.mark.parametrize("pattern", ["(", "first"])
def test_an_extract_that_cannot_work_is_named(csv_path: str, pattern: str) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        FileSource("{goal}", extract=pattern, path=csv_path).load(0)


def test_a_missing_column_names_the_nearest(csv_path: str) -> None:
    with pytest.raises(DataError, match=r"no column 'goals'. Did you mean 'goal'\?"):
        FileSource("{goals}", path=csv_path).load(0)
    with pytest.raises(DataError, match=r"no column 'kin'. Did you mean 'kind'\?"):
        FileSource("{goal}", where={"kin": "a"}, path=csv_path).load(0)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("options", [{"response": "{answer}"}, {"where": {"answer": "one"}}])
def test_a_row_that_lacks_a_column_is_named(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    target = tmp_path / f"rows.{kind}"
    rows = [*ROWS, {"goal": "fifth", "anser": "five"}, ROWS[0]]
    text = json.dumps(rows) if kind == "json" else "\n\n".join(map(json.dumps, rows))
    target.write_text(text, encoding="utf-8")
    said = r"no column 'answer'\. Did you mean 'anser'\? Allowed: .*\. Row 5 of 6 lacks it\."
    with pytest.raises(DataError, match=said):
        FileSource("{goal}", path=str(target), **options).load(0)
    with pytest.raises(DataError, match=r"Row 1 of 6 lacks it\."):
        FileSource("{anser}", path=str(target)).load(0)


def test_a_column_that_no_row_has_is_no_fault_of_the_first(csv_path: str) -> None:
    with pytest.raises(DataError, match=r"no column 'goals'.*Allowed: [a-z, ]+\.$"):
        FileSource("{goals}", path=csv_path).load(0)


@pytest.mark.parametrize("name", ["data.prompt", "prompt[en]", "0", "", "Kind of harm"])
def test_a_column_is_called_what_it_is_called(tmp_path: Path, name: str) -> None:
    """As pandas flattens objects and leaves indices and header-less frames."""
    target = tmp_path / "rows.jsonl"
    target.write_text(json.dumps({name: "Why?"}), encoding="utf-8")
    (found,) = FileSource(f"Say: {{{name}}}", path=str(target)).load(0)
    assert found.prompt == "Say: Why?"


def test_templates_format_their_cells(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_text(json.dumps({"n": 7, "text": "a"}), encoding="utf-8")
    (found,) = FileSource("{n:03d} {text!r} {{n}}", path=str(target)).load(0)
    assert found.prompt == "007 'a' {n}"


@pytest.mark.parametrize(("cell", "what"), [(["a", "b"], "a list"), ({"text": "a"}, "an object")])
def test_a_cell_that_is_no_text_is_refused(tmp_path: Path, cell: Any, what: str) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_text(json.dumps({"messages": cell}), encoding="utf-8")
    with pytest.raises(DataError, match=f"column 'messages' holds {what}.*ConversationSource"):
        FileSource("{messages}", path=str(target)).load(0)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("prompt,prompt\nfirst,second\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.csv is malformed: two columns are called 'prompt'"):
        read_rows(target)
    target.write_text(",prompt,\n0,first,\n", encoding="utf-8")
    assert read_rows(target)[0]["prompt"] == "first"


def test_a_column_without_a_name_can_be_seen_in_the_message(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text(",prompt\n0,first\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no column 'cat'\. Allowed: '', prompt\."):
        FileSource("{prompt}", category="{cat}", path=str(target)).load(0)


@pytest.mark.parametrize("name", ["goal", "{{goal}}", " goal "])
def test_a_column_s_name_without_braces_is_no_request(csv_path: str, name: str) -> None:
    """A model would be asked the name of the column, once a row."""
    said = r"is the name of a column, .* Write '\{goal\}' for what the column holds"
    with pytest.raises(DataError, match=said):
        FileSource(name, path=csv_path).load(0)
    with pytest.raises(DataError, match=said):
        FileSource("{answer}", name, path=csv_path).load(0)
    assert FileSource("the goal", path=csv_path).load(0)[0] == Example("the goal")


@pytest.mark.parametrize("template", ["{goal", "goal}", "{}", "{goal.upper}"])
def test_a_broken_template_is_a_data_error(csv_path: str, template: str) -> None:
    with pytest.raises(DataError, match=r"rows\.csv"):
        FileSource(template, path=csv_path).load(0)


def test_a_selection_of_nothing_is_refused(csv_path: str) -> None:
    with pytest.raises(DataError, match=r"no row matches where=.'kind': 'z'"):
        FileSource("{goal}", where={"kind": "z"}, path=csv_path).load(0)
    with pytest.raises(DataError, match="start=9"):
        FileSource("{goal}", start=9, path=csv_path).load(0)


def test_a_missing_file_names_the_nearest(csv_path: str) -> None:
    with pytest.raises(DataError, match=r"No file .*row\.csv\. Did you mean 'rows\.csv'\?"):
        FileSource("{goal}", path=csv_path.replace("rows", "row")).load(0)
    with pytest.raises(DataError, match="is a folder, and a file is needed"):
        FileSource("{goal}", path=str(Path(csv_path).parent)).load(0)
    with pytest.raises(DataError, match="is a folder, and a file is needed"):
        FileText(str(Path(csv_path).parent)).load_text()
    with pytest.raises(DataError, match=r"There is no folder .*; is data\.root right\?"):
        FileSource("{goal}", path="/no/such/folder/rows.csv").load(0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.json", b'[{"goal": "x"}, {"go'),
        ("object.json", b'{"goal": "x"}'),
        ("numbers.json", b"[1, 2]"),
        ("words.json", b'["goal"]'),
        ("cut.jsonl", b'{"goal": "x"}\n{"goal": '),
        ("number.jsonl", b"1\n"),
        ("half_an_emoji.jsonl", b'{"goal": "x \\ud83d"}\n'),
        ("deep.json", b"[" * 100_000 + b"]" * 100_000),
        ("deep.jsonl", b"[" * 100_000 + b"]" * 100_000),
        ("latin.csv", "goal\nFüße".encode("latin-1")),
        ("latin.txt", "Füße".encode("latin-1")),
    ],
)
def test_a_malformed_file_is_called_so(tmp_path: Path, name: str, content: bytes) -> None:
    target = tmp_path / name
    target.write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is malformed"):
        FileSource("{goal}", path=str(target)).load(0)


def test_half_a_character_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_bytes(b'{"goal": "x \\ud83d"}\n')
    with pytest.raises(DataError, match=r"it holds '\\ud83d', half of a character"):
        read_rows(tmp_path / "half.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ""),
        ("b.csv", "goal\n"),
        ("c.json", "[]"),
        ("d.jsonl", "\n"),
        ("e.txt", " \n"),
        ("f.json", ""),
        ("g.json", "\n"),
    ],
)
def test_an_empty_file_is_called_so(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_told_which_to_take(tmp_path: Path, encoding: str) -> None:
    for name in ("rows.csv", "rows.json", "rows.txt"):
        (tmp_path / name).write_bytes('["Füße"]'.encode(encoding))
        with pytest.raises(DataError, match=f"{name} is malformed: .*; save it as UTF-8$"):
            read_rows(tmp_path / name)
    with pytest.raises(DataError, match=r"save it as UTF-8$"):
        FileText(str(tmp_path / "rows.txt")).load_text()


@pytest.mark.parametrize("kind", sorted(CONTENT))
def test_an_ending_may_be_in_capitals(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"UP.{kind.upper()}").write_text(CONTENT[kind], encoding="utf-8")
    assert len(read_rows(tmp_path / f"UP.{kind.upper()}")) == len(ROWS)
    (tmp_path / "UP.TXT").write_text("first\nsecond\n", encoding="utf-8")
    assert read_texts(tmp_path / "UP.TXT", "suffix") == ["first", "second"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_that_stand_apart_otherwise_are_told(tmp_path: Path, mark: str) -> None:
    target = tmp_path / "rows.csv"
    target.write_text(f"goal{mark}answer\nfirst, please{mark}one\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"not separated by ',': .* one name, 'goal.*\.tsv$"):
        FileSource("{goal}", path=str(target)).load(0)
    target.write_text("goal\nfirst; second\n", encoding="utf-8")  # one column, not many
    assert FileSource("{goal}", path=str(target)).load(0) == [Example("first; second")]


def test_the_line_of_a_jsonl_file_that_is_broken_is_named(tmp_path: Path) -> None:
    """json itself says line 1 of every one; where a comma too many stands, Pythons disagree."""
    target = tmp_path / "rows.jsonl"
    target.write_text('{"goal": "x"}\n\n{"goal": "y" 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"malformed: .*: line 3 column 14; every line is"):
        FileSource("{goal}", path=str(target)).load(0)
    target.write_text('{"goal": "x"\n{"goal": "y"}\n', encoding="utf-8")  # what lacks at its end
    with pytest.raises(DataError, match=r"malformed: .*: line 1 column 13; every line is"):
        FileSource("{goal}", path=str(target)).load(0)


def test_json_lines_in_a_json_file_are_told(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    target.write_text('{"goal": "x"}\n{"goal": "y"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"malformed: Extra data: line 2 .* ends in \.jsonl$"):
        read_rows(target)
    target.write_text('[{"goal": "x",}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"malformed: .*\(char \d+\)$"):
        read_rows(target)


def test_a_full_folder_is_not_listed(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"other_{number}").touch()
    (tmp_path / "requests.csv").touch()
    with pytest.raises(DataError, match=r"No file .*zzz\.csv\.$"):
        read_rows(tmp_path / "zzz.csv")
    with pytest.raises(DataError, match=r"Did you mean 'requests\.csv'\? Allowed: req[a-z.]*$"):
        read_rows(tmp_path / "request.csv")


def test_an_unknown_type_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonn").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"unknown type '\.jsonn'. Did you mean '\.jsonl?'\?"):
        read_rows(tmp_path / "rows.jsonn")


def test_running_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("some words\n", encoding="utf-8")
    assert FileText(str(tmp_path / "text.txt")).load_text() == "some words\n"


def test_running_text_that_is_missing_empty_or_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("  \n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Füße".encode("latin-1"))
    with pytest.raises(DataError, match="is empty"):
        FileText(str(tmp_path / "text.txt")).load_text()
    with pytest.raises(DataError, match=r"Did you mean 'text\.txt'\?"):
        FileText(str(tmp_path / "test.txt")).load_text()
    with pytest.raises(DataError, match="is malformed"):
        FileText(str(tmp_path / "latin.txt")).load_text()
