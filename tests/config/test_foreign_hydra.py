"""A config folder of somebody's: experiments and groups, but nothing that Hydra would import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssah_exp.cli import main
from ssah_exp.config.foreign_hydra import _whole, refuse_foreign_hydra
from ssah_exp.config.plugins import VARIABLE
from ssah_exp.errors import ConfigError
from tests.plugins import Install

FOREIGN = {"_target_": "this.Anything"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    return tmp_path / "conf"


def write(folder: Path, hydra: dict[str, Any], *defaults: Any) -> list[str]:
    """An experiment ``theirs`` with a part for Hydra, and how it is run."""
    content = {"defaults": ["table1_small", *defaults], "hydra": hydra}
    path = folder / "experiment" / "theirs.yaml"
    path.write_text(f"# @package _global_\n{yaml.safe_dump(content)}", encoding="utf-8")
    return ["experiment=theirs", "--config-dir", str(folder)]


@pytest.mark.parametrize(
    ("hydra", "message"),
    [
        ({"callbacks": {"x": FOREIGN}}, "hydra.callbacks is changed"),
        ({"job_logging": {"handlers": {"x": {"()": "this.x"}}}}, "hydra.job_logging is changed"),
        (
            {"hydra_logging": {"handlers": {"x": {"class": "t.x"}}}},
            "hydra.hydra_logging is changed",
        ),
        ({"sweeper": {"sampler": FOREIGN}}, "hydra.sweeper names this.Anything"),
        ({"launcher": FOREIGN}, "hydra.launcher names this.Anything"),
        ({"job": {"env_set": {VARIABLE: "this"}}}, f"hydra.job.env_set sets {VARIABLE}"),
        ({"job": {"env_set": {"PYTHONPATH": "."}}}, "hydra.job.env_set sets PYTHONPATH"),
        ({"job": {"env_set": {"PATH": "here"}}}, "hydra.job.env_set sets PATH"),
        ({"job": {"env_set": {"GIT_DIR": "here"}}}, "hydra.job.env_set sets GIT_DIR"),
        ({"job": {"env_set": {"HF_ENDPOINT": "x"}}}, "hydra.job.env_set sets HF_ENDPOINT"),
    ],
)
def test_what_would_be_imported_is_refused(
    folder: Path, hydra: dict[str, Any], message: str
) -> None:
    optuna = {"override /hydra/sweeper": "optuna"} if "sweeper" in hydra else "_self_"
    with pytest.raises(ConfigError, match=message):
        refuse_foreign_hydra(write(folder, hydra, optuna))


def test_shell_lines_are_not_a_files_to_give(folder: Path) -> None:
    """Slurm's launcher runs them before each job; an experiment may choose that launcher."""
    setup = ["touch somewhere"]
    words = write(folder, {"launcher": {"setup": setup}}, {"override /hydra/launcher": "slurm"})
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.setup holds shell lines"):
        refuse_foreign_hydra(words)
    plain = write(folder, {}, {"override /hydra/launcher": "slurm"})
    assert _whole(plain)["hydra"]["launcher"]["setup"] == []
    refuse_foreign_hydra(plain)
    said = ["hydra/launcher=slurm", "hydra.launcher.setup=[module load cuda]"]
    refuse_foreign_hydra([*said, *plain])


def test_options_of_sbatch_are_not_a_files_to_give(folder: Path) -> None:
    """``export`` sets any variable of the jobs."""
    slurm = {"override /hydra/launcher": "slurm"}
    words = write(folder, {"launcher": {"sbatch": {"export": "PYTHONPATH=here"}}}, slurm)
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.sbatch holds options of sbatch"):
        refuse_foreign_hydra(words)
    plain = write(folder, {}, slurm)
    refuse_foreign_hydra(["+hydra.launcher.sbatch.exclude=node7", *plain])


def trusting(folder: Path) -> list[str]:
    """An experiment that has its model's code trusted, and how it is run."""
    words = write(folder, {})
    path = folder / "experiment" / "theirs.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}model:\n  trust_remote_code: true\n", encoding="utf-8")
    return words


def test_a_models_code_is_not_a_files_to_trust(folder: Path) -> None:
    words = trusting(folder)
    with pytest.raises(ConfigError, match=r"on the command line: model\.trust_remote_code=true"):
        refuse_foreign_hydra(words)
    with pytest.raises(ConfigError, match="has the model's code run"):
        refuse_foreign_hydra(["model.device=cpu", *words])
    key = "model.trust_remote_code"
    for said in (f"{key}=true", f"++{key}=true", "++model={trust_remote_code: true}"):
        refuse_foreign_hydra([said, *words])
    refuse_foreign_hydra(["-m", f"{key}=true,false", *words])


def test_a_model_s_group_of_theirs_has_no_code_trusted(folder: Path) -> None:
    (folder / "model").mkdir()
    text = "defaults: [local]\ntrust_remote_code: ${seed}\n"
    (folder / "model" / "theirs.yaml").write_text(text, encoding="utf-8")
    words = ["model=theirs", "--config-dir", str(folder)]
    with pytest.raises(ConfigError, match="has the model's code run"):
        refuse_foreign_hydra(words)


def test_what_the_command_line_was_is_not_a_files_to_say(folder: Path) -> None:
    words = write(folder, {"overrides": {"task": ["model.trust_remote_code=true"]}})
    with pytest.raises(ConfigError, match=r"hydra\.overrides is changed"):
        refuse_foreign_hydra(words)


@pytest.mark.parametrize("launcher", ["batch", "basic"])
@pytest.mark.parametrize("trusts", [True, False])
def test_a_file_that_a_sweep_s_value_chooses_is_looked_at_too(
    folder: Path, tmp_path: Path, capsys: Any, launcher: str, trusts: bool
) -> None:
    words = trusting(folder) if trusts else write(folder, {})
    if not trusts:
        path = folder / "experiment" / "theirs.yaml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text + "evaluation:\n  system_prompt: ${oc.env:HOME}\n")
    words[0] = "experiment=theirs,table1_small"
    place = [f"paths.root={tmp_path}", f"hydra/launcher={launcher}"]
    assert main(["run", "-m", *words, *place]) == 2
    said = capsys.readouterr().err
    assert ("has the model's code run" if trusts else "calls oc.env") in said


@pytest.mark.parametrize(
    "given", ["hydra/launcher=mine", "hydra.job.env_set.HF_ENDPOINT=x", "hydra/sweeper=nowhere"]
)
def test_a_word_that_goes_with_their_files_alone_switches_no_check_off(
    folder: Path, given: str
) -> None:
    """Without the files it composes to nothing, and then nothing was looked at."""
    (folder / "hydra" / "launcher").mkdir(parents=True)
    ours = {"defaults": [], "_target_": "hydra_plugins.ssah_launchers.x", "setup": ["touch x"]}
    mine = f"# @package hydra.launcher\n{yaml.safe_dump(ours)}"
    (folder / "hydra" / "launcher" / "mine.yaml").write_text(mine, encoding="utf-8")
    theirs = {"callbacks": {"x": FOREIGN}, "job": {"env_set": {"HF_ENDPOINT": "y"}}}
    words = [given, *write(folder, theirs)]
    if given.endswith("nowhere"):  # Hydra itself will refuse it
        assert refuse_foreign_hydra(words) is None
        return
    with pytest.raises(ConfigError) as caught:
        refuse_foreign_hydra(words)
    assert "hydra.callbacks is changed" in str(caught.value)
    own = given.startswith("hydra.job")  # the value is the command line's
    assert ("sets HF_ENDPOINT" in str(caught.value)) != own
    assert ("setup holds shell lines" in str(caught.value)) == given.endswith("mine")


def test_what_is_said_beside_a_launcher_of_theirs_is_said_on_the_command_line(
    folder: Path,
) -> None:
    (folder / "hydra" / "launcher").mkdir(parents=True)
    mine = "# @package hydra.launcher\ndefaults: [slurm]\npartition: long\n"
    (folder / "hydra" / "launcher" / "mine.yaml").write_text(mine, encoding="utf-8")
    given = ["hydra/launcher=mine", "hydra.launcher.setup=[module load cuda]"]
    refuse_foreign_hydra([*given, *write(folder, {})])
    assert _whole([*given, *write(folder, {})])["hydra"]["launcher"]["setup"] == [
        "module load cuda"
    ]


def test_consent_is_not_a_files_to_give(folder: Path, install: Install, capsys: Any) -> None:
    name = install("print('imported')", trusted=False)
    words = write(folder, {"job": {"env_set": {VARIABLE: name}}})
    assert main(["run", *words, "+ablation.sets.x={_target_: " + f"{name}.Anything" + "}"]) == 2
    said = capsys.readouterr()
    assert f"hydra.job.env_set sets {VARIABLE}" in said.err
    assert "imported" not in said.out


def test_other_parts_are_theirs_to_set(folder: Path) -> None:
    hydra = {"job": {"name": "night", "env_set": {"OMP_NUM_THREADS": "1"}}, "verbose": True}
    refuse_foreign_hydra(write(folder, hydra))
    refuse_foreign_hydra(["experiment=theirs"])  # without a folder of theirs there is no such file


@pytest.mark.parametrize(("given", "chosen"), [([], "Local"), (["hydra/launcher=slurm"], "Slurm")])
def test_a_launcher_is_theirs_to_choose(folder: Path, given: list[str], chosen: str) -> None:
    """Of several overrides Hydra takes its first: config.yaml's own was that, without a word."""
    words = [*given, *write(folder, {}, {"override /hydra/launcher": "local"})]
    refuse_foreign_hydra(words)
    assert _whole(words)["hydra"]["launcher"]["_target_"].endswith(f".{chosen}Launcher")


def test_the_command_line_may_say_what_a_file_may_not(folder: Path) -> None:
    words = write(folder, {})
    refuse_foreign_hydra(["+hydra.callbacks.x={_target_: mine.Callback}", *words])
    refuse_foreign_hydra([f"+hydra.job.env_set.{VARIABLE}=mine", *words])


def test_a_searched_path_is_a_folder_of_theirs(folder: Path) -> None:
    write(folder, {"callbacks": {"x": FOREIGN}})
    with pytest.raises(ConfigError, match=r"hydra\.callbacks is changed"):
        refuse_foreign_hydra(["experiment=theirs", f"hydra.searchpath=[file://{folder}]"])


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("${oc.env:SSAH_TEST_SECRET}", "oc.env"),
        ("a ${oc.env:SSAH_TEST_SECRET,x} b", "oc.env"),
        ("${oc.select:seed,${oc.env:SSAH_TEST_SECRET}}", "oc.env"),
        ("${oc.decode:'${model.device}'}", "oc.decode"),
        ("${oc.${model.device}:SSAH_TEST_SECRET}", "oc.${model.device}"),
    ],
)
def test_the_environment_is_not_a_files_to_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, called: str
) -> None:
    """It would stand in the record, which goes to other people and to trackers."""
    monkeypatch.setenv("SSAH_TEST_SECRET", "hf_secret")
    words = write(folder, {})
    path = folder / "experiment" / "theirs.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content |= {"evaluation": {"system_prompt": text}}
    path.write_text(f"# @package _global_\n{yaml.safe_dump(content)}", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        refuse_foreign_hydra(words)
    assert f"calls {called}: " in str(refused.value)
    assert "give it on the command line: evaluation.system_prompt=VALUE" in str(refused.value)
    assert "hf_secret" not in str(refused.value)
    assert main(["run", *words, "--cfg", "job"]) == 2


def test_what_shipped_files_and_the_command_line_read_is_not_theirs(folder: Path) -> None:
    words = write(folder, {})
    refuse_foreign_hydra(["evaluation.system_prompt=${oc.env:HOME}", *words])
    path = folder / "experiment" / "theirs.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nevaluation:\n  system_prompt: seed ${{seed}}, ${{now:%Y}}\n")
    refuse_foreign_hydra(words)
