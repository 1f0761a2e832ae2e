"""The same command within this process: quick, for what needs no process of its own."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.bench.scaling import Rates
from ssah_exp.cache import Cache
from ssah_exp.cli import build_parser, main
from ssah_exp.commands import doctor
from ssah_exp.config.plugins import VARIABLE
from ssah_exp.errors import IncompleteError, SsahWarning
from ssah_exp.records.store import RecordStore
from ssah_exp.storage import whole_folder
from tests.cli.unit_map import unit_map
from tests.config.composing import names_of
from tests.endings import half_done
from tests.plugins import Install
from tests.records.synthetic import record
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "words",
    [
        ["tables"],
        ["report"],
        ["compare", "table1_pruning", "table1_pruning"],
        ["figure", "table1_pruning"],
    ],
)
def test_a_root_in_the_home_folder_is_found(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A shell expands ``~`` at the beginning of a word only, not behind ``--root=``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--root=~/mine"]) == 2
    assert f"below {tmp_path / 'mine'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "amid", "code"),
    [("status", False, 0), ("run", False, 0), ("run", True, 1)],
    ids=["says it all", "is done", "has work left"],
)
def test_a_reader_that_is_gone_is_no_error_and_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, amid: bool, code: int
) -> None:
    """As behind ``| head -1``: Python complained at its end, and a sweep cut short counted as 0."""
    sweep_of(tmp_path, 1)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(
            "ssah_exp.commands.run.execute", lambda *_: print("one of two", flush=amid) or 0
        )
        assert main([module, *(["--root", str(tmp_path)] if module == "status" else [])]) == code


def test_nor_is_it_one_of_tables_that_rich_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_map().save(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["units", "show", str(tmp_path)]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_output_that_a_full_disk_does_not_take_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    sweep_of(tmp_path, 1)
    with Path("/dev/full").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["status", "--root", str(tmp_path)]) == 2
    assert failed(capsys) == "No space left on device: output was not written whole"


def test_a_warning_is_its_sentence(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where in the code it comes from helps nobody who reads a table; of others' it may."""

    def warn(*_: object) -> int:
        warnings.warn("Skipping a record: it is damaged.", SsahWarning, stacklevel=2)
        warnings.warn("theirs", UserWarning, stacklevel=2)
        return 0

    monkeypatch.setattr("ssah_exp.commands.status.execute", warn)
    monkeypatch.setattr("warnings.showwarning", print_warning)
    usual = warnings.formatwarning
    assert main(["status", "--root", str(tmp_path)]) == 0
    ours, *theirs = capsys.readouterr().err.splitlines()
    assert ours == "ssah-exp: Skipping a record: it is damaged."
    assert theirs[0].endswith("UserWarning: theirs")
    assert warnings.formatwarning is usual


def print_warning(message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
    """As Python does where no test runner collects them."""
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)


def failed(capture: Capture) -> str:
    """The one line of a call that failed."""
    said = capture.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("ssah-exp: ")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_every_command_has_help() -> None:
    """argparse formats help with ``%``, when somebody asks for it and not before."""
    found = list(parsers(build_parser()))
    assert len(found) > 20
    for parser in found:
        assert parser.prog in parser.format_help()


def test_help_of_run_shows_choices_and_no_parts_of_them(capsys: Capture) -> None:
    """Files whose names begin with ``_`` are what choices are built on."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("ssah-exp run [GROUP=OPTION | KEY=VALUE] ...")
    groups = said[said.index("== Configuration groups ==") : said.index("== Config ==")]
    shown = dict(re.findall(r"(?m)^([\w/]+): (.+)$", groups))
    for group in ("data", "experiment", "model", "training"):
        assert shown[group].split(", ") == names_of(group)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("compare",), r"--margin MARGIN .*\(default: 0\.05\)"),
        (("tables",), r"--format \{[^}]*\} .* \(default: text in a terminal, else markdown\)"),
        (("units", "overlap"), r"--format \{[^}]*\} of what is printed \(default: text\)"),
        (("units", "stability"), r"--resamples RESAMPLES .*\(default: 200\)"),
        (("units", "stability"), r"--seed SEED .*\(default: 0\)"),  # nought is no nothing
        (("bench", "train"), r"--share SHARE .*\(default: 0\.2\)"),
        (("figure",), r"--out OUT .*\(default: a name of the figure's own"),
    ],
)
def test_help_names_the_defaults(command: tuple[str, ...], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(said, text)
    assert "None)" not in text
    assert "[])" not in text


def test_help_names_the_rates_that_scaling_takes(capsys: Capture) -> None:
    """Written down there, as importing them would cost every command its start."""
    with pytest.raises(SystemExit):
        main(["scaling", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in ("forward", "card", "link", "network"):
        (shown,) = re.findall(rf"--{name} {name.upper()} [^(]*\(default: ([^ ,)]+)", text)
        assert float(shown) == getattr(Rates(), name)


def test_an_error_behind_the_config_is_one_line_and_code_2(capsys: Capture) -> None:
    model = ["model=local", "model.name=x", "model.end_of_turn=x", "model.source.path=nowhere"]
    assert main(["run", *model]) == 2
    assert failed(capsys) == "nowhere is no model folder: it has no config.json."


def test_a_wrong_tracker_is_refused_before_anything_runs(capsys: Capture, tmp_path: Path) -> None:
    code = main(["run", f"paths.root={tmp_path}", "tracker.target._target_=os.system"])
    assert code == 2
    assert failed(capsys).startswith("tracker.target._target_=os.system is not allowed")
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_an_unknown_artefact(capsys: Capture, tmp_path: Path) -> None:
    assert main(["tables", "table1_prunning", "--root", str(tmp_path)]) == 2
    line = failed(capsys)
    assert line.startswith("Unknown artefact 'table1_prunning'. Did you mean 'table1_pruning'?")


def test_a_table_of_an_empty_store_says_how_to_fill_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSAH_ROOT", str(tmp_path))
    assert main(["tables", "table1_pruning"]) == 2
    line = failed(capsys)
    assert f"below {tmp_path}" in line
    assert "ssah-exp run experiment=table1_pruning" in line


def test_a_table_of_records(capsys: Capture, tmp_path: Path) -> None:
    RecordStore(tmp_path).write(record())
    assert main(["tables", "table1_pruning", "--format", "json", "--root", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["origin"] for row in rows} == {"measured", "comparison", "published"}


def test_tables_without_a_name_list_what_there_is(capsys: Capture, tmp_path: Path) -> None:
    for seed in range(2):
        RecordStore(tmp_path).write(record(seed))
    assert main(["tables", "--format", "json", "--root", str(tmp_path)]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["artefact"], line["runs"], line["seeds"]) == ("table1_pruning", "2", "0, 1")


def test_a_table_of_a_folder_of_records(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "table1" / "records"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(record().to_json(), encoding="utf-8")
    for given in (folder, tmp_path):
        assert main(["tables", "table1_pruning", "--records", str(given)]) == 0
        assert "| SCU " in capsys.readouterr().out
    for wrong, message in (("nowhere", "No folder of records"), (".", "No record in")):
        given = tmp_path / "table1" / wrong
        assert main(["tables", "table1_pruning", "--records", str(given)]) == 2
        assert failed(capsys).startswith(message)


def test_units_of_a_missing_path(capsys: Capture, tmp_path: Path) -> None:
    assert main(["units", "show", str(tmp_path / "nowhere")]) == 2
    assert failed(capsys).startswith("No UnitMap in ")


def test_units_as_text_name_every_class(capsys: Capture, tmp_path: Path) -> None:
    unit_map().save(tmp_path)
    assert main(["units", "show", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("SCU", "UCU", "CU", "RU", "Heads + neurons per layer"))
    assert "unweighted" not in said


def test_units_shown_say_that_their_scores_leave_weights_out(
    capsys: Capture, tmp_path: Path
) -> None:
    units = unit_map()
    settings = {**units.provenance.settings, "unweighted": True}
    replace(units, provenance=replace(units.provenance, settings=settings)).save(tmp_path)
    assert main(["units", "show", str(tmp_path)]) == 0
    assert "statistic variance unweighted" in " ".join(capsys.readouterr().out.split())


def test_a_damaged_unit_map_is_refused(capsys: Capture, tmp_path: Path) -> None:
    unit_map().save(tmp_path)
    with (tmp_path / "unitmap.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"X")
    assert main(["units", "show", str(tmp_path)]) == 2
    assert "is damaged" in failed(capsys)


def test_the_doctor_writes_a_missing_extra_out(tmp_path: Path) -> None:
    report = doctor.examine(tmp_path)
    report["extras"] = {"gpu": {"missing": ["vllm"], "install": "pip install 'ssah-exp[gpu]'"}}
    (line,) = [line for line in doctor._lines(report) if line.startswith("extra")]
    assert line.endswith("missing vllm; pip install 'ssah-exp[gpu]'")


def test_the_doctor_names_plug_ins_and_those_that_are_not_there(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = install("")
    monkeypatch.setenv(VARIABLE, f"{name},nowhere_at_all")
    report = doctor.examine(tmp_path)
    here, gone = (line for line in doctor._lines(report) if line.startswith("plug-in"))
    assert here == f"plug-in {name}: {report['plugins'][name]['sha256'][:12]}"
    assert gone.endswith("there is no package 'nowhere_at_all' on Python's path.")


def test_the_doctor_says_how_much_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def usage(place: Path) -> SimpleNamespace:
        asked.append(place)
        return SimpleNamespace(free=12_340_000_000)

    monkeypatch.setattr(doctor.shutil, "disk_usage", usage)
    report = doctor.examine(tmp_path / "runs" / "to come")
    assert asked == [tmp_path]
    assert f"runs and cache: {tmp_path / 'runs' / 'to come'}, 12.3 GB free" in doctor._lines(report)


def test_the_doctor_counts_the_cache_as_its_own_command_does(
    tmp_path: Path, capsys: Capture
) -> None:
    cache = Cache(tmp_path / "cache")
    cache.get_or_compute("align", {}, lambda folder: (folder / "a").write_bytes(bytes(100_000)))
    assert main(["cache", "show", "--root", str(tmp_path), "--format", "json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    names = ("entries", "bytes", "unfinished_bytes")
    assert stage["bytes"] >= 100_000
    report = doctor.examine(tmp_path)["root"]
    assert report["cache"] == {"align": {name: stage[name] for name in names}}
    assert isinstance(report["free_bytes"], int)


def test_the_doctor_bears_files_that_jobs_at_work_take_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    work = cache.get_or_compute("align", {}, lambda folder: (folder / "a").touch()).folder
    for name in ("stays", "goes"):
        (work / name).write_bytes(bytes(100_000))
    look = Path.stat

    def vanish(path: Path, **options: Any) -> os.stat_result:
        found = look(path, **options)
        if path.name == "goes":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", vanish)
    sizes = doctor.examine(tmp_path)["root"]["cache"]
    assert sizes["align"]["entries"] == 1
    assert 200_000 <= sizes["align"]["bytes"] < 201_000


@pytest.mark.parametrize("arguments", [[], ["fly"], ["figure"], ["tables", "t", "--format", "x"]])
def test_wrong_usage_is_code_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: ssah-exp" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["units", "show", "--", "-p"], ["status", "--", "-name"]])
def test_a_name_that_begins_with_a_dash_stands_behind_two(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSAH_ROOT", str(tmp_path))
    assert main(words) == 2


@pytest.mark.parametrize("override", ["units=null", "data=", "experiment=NULL"])
def test_a_group_without_an_option_is_told_which_there_are(capsys: Capture, override: str) -> None:
    assert main(["run", override]) == 2
    assert failed(capsys).startswith(f"{override} names no option. Allowed: ")


def test_a_run_that_is_incomplete_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def incomplete(*_: object) -> int:
        raise IncompleteError("Run 1 is incomplete.")

    monkeypatch.setattr("ssah_exp.commands.run.execute", incomplete)
    assert main(["run"]) == 1
    assert "Run 1 is incomplete." in capsys.readouterr().err


@pytest.mark.parametrize("wrapped", [False, True])
def test_ctrl_c_behind_an_error_of_a_library_is_ctrl_c(
    wrapped: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def execute(*_: object) -> None:
        half_done(KeyboardInterrupt(), wrapped=wrapped)

    monkeypatch.setattr("ssah_exp.commands.run.execute", execute)
    assert main(["run"]) == 130
    assert failed(capsys) == "interrupted; run the same command to go on"


def test_ctrl_c_while_libraries_are_imported_is_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def imported(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssah_exp.cli.import_module", imported)
    try:
        assert main(["run"]) == 130
    except KeyboardInterrupt:
        pytest.fail("a traceback")
    assert failed(capsys) == "interrupted; run the same command to go on"


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [(["mirror", "csv"], True), (["retry-failed"], True), (["export", "run", "arm", "out"], False)],
)
def test_ctrl_c_promises_to_go_on_where_that_is_so(
    words: list[str], goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def execute(*_: object) -> None:
        raise KeyboardInterrupt

    module = SimpleNamespace(execute=execute)
    monkeypatch.setattr("ssah_exp.cli.import_module", lambda name: module)
    assert main(words) == 130
    said = failed(capsys)
    assert said == ("interrupted; run the same command to go on" if goes_on else "interrupted")


def test_term_leaves_no_half_of_what_a_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(*_: object) -> None:
        with whole_folder(tmp_path / "out"):
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "it would end the tests"
            os.kill(os.getpid(), signal.SIGTERM)

    module = SimpleNamespace(execute=execute)
    monkeypatch.setattr("ssah_exp.cli.import_module", lambda name: module)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["export", "run", "arm", "out"])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_process_behind_an_error_is_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssah_exp.commands.run.execute", lambda *_: half_done(SystemExit(143)))
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == 143


def test_an_error_of_a_library_alone_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssah_exp.commands.run.execute", lambda *_: half_done(ValueError("before")))
    with pytest.raises(AttributeError, match="half done"):
        main(["run"])


def test_signs_that_a_terminal_has_not_end_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()

    def execute(*_: object) -> int:
        print("5.0\N{DAGGER}", flush=True)
        return 0

    monkeypatch.setattr("ssah_exp.commands.tables.execute", execute)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert main(["tables"]) == 0
    assert written.getvalue() == b"5.0?\n"


@pytest.mark.parametrize(
    ("words", "usage", "told"),
    [
        (["rum"], "ssah-exp [-h]", "invalid choice: 'rum'. Did you mean 'run'? Allowed: bench,"),
        (["tables", "--format", "latx"], "ssah-exp tables", "Did you mean 'latex'? Allowed: csv,"),
        (["units", "shwo", "RUN"], "ssah-exp units", "Did you mean 'show'? Allowed: "),
        (["tables", "--fromat=csv"], "ssah-exp tables", "Did you mean '--format'? Allowed: "),
        (["tables", "probe", "extra"], "ssah-exp tables", "unrecognized arguments: extra\n"),
    ],
)
def test_a_mistyped_word_names_the_nearest_and_its_own_usage(
    words: list[str], usage: str, told: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: {usage}")
    assert told in said
