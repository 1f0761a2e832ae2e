"""From a finished run back to its model and examples: the same units, and nothing written."""

from __future__ import annotations

import io
import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssah_exp.cli import main
from ssah_exp.config.identity import science, without_places
from ssah_exp.config.schema import ArmConfig
from ssah_exp.config.validate import validate
from ssah_exp.digest import digest_folder
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.recorded_config import config_of as recorded_config
from ssah_exp.pipeline.reopening import cache_of, models_of, reopen
from ssah_exp.records.store import RECORD
from ssah_exp.units.noise import transfer_noise
from ssah_exp.units.unitmap import UnitMap
from tests.config.composing import config_of
from tests.pipeline.tiny_run import SIZES, of_class, silent
from tests.plugins import Install
from tests.records.synthetic import trained_arm, training_record

Capture = pytest.CaptureFixture[str]


def overrides(place: Path, *, data: str = "data") -> list[str]:
    """Where the tiny run's files lie: what its record leaves out."""
    paths = {name: str(place / data / f"{name}.csv") for name in SIZES}
    alignment = paths.pop("alignment")
    given = [f"+data.{name}.path={path}" for name, path in paths.items()]
    given += [
        "model=local",
        "model.name=x",
        "model.end_of_turn=x",
        f"model.source.path={place / 'model'}",
        f"data.alignment=[{{path: {alignment}}}]",
        f"+data.text.path={place / data / 'text.txt'}",
        "trainer=cpu",
        "trainer.progress=false",
    ]
    return [part for item in given for part in ("--set", item)]


def test_the_atlas_of_a_run(finished: Finished, place: Path, capsys: Capture) -> None:
    before = digest_folder(place)
    arguments = ["units", "stability", str(finished.folder), "--resamples", "10"]
    assert main([*arguments, *overrides(place), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["examples"] == {"safety": 5, "utility": 5}
    assert shown["notes"] == ["100.000 % of units have the class that the run stored."]
    names = [item["name"] for item in shown["comparisons"]]
    assert names == ["bootstrap", "halves", "flap", "random"]
    stored = UnitMap.load(finished.folder / "unitmap")
    agreed = shown["consensus"]
    assert agreed["reference_units"] == int((stored.classes == 0).sum())
    drawn = [item for item in shown["inclusion"] if item["inclusion"] > 0]
    assert agreed["ever"] == len(drawn)
    assert agreed["always"] == sum(item["inclusion"] == 1 for item in drawn)
    consensus = [item for item in drawn if item["inclusion"] >= 0.5]
    assert agreed["consensus_units"] == len(consensus) > agreed["always"]
    sizes = {"head": stored.anatomy.head_parameters, "neuron": stored.anatomy.neuron_parameters}
    assert agreed["consensus_parameter_share"] == pytest.approx(
        sum(sizes[item["kind"]] for item in consensus) / stored.index.parameters.sum()
    )
    assert digest_folder(place) == before


def test_units_of_the_runs_own_models(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    maps = {}
    for name in ("aligned", "base", str(place / "model")):
        out = tmp_path / Path(name).name
        arguments = ["units", "identify", str(finished.folder), name, str(out)]
        assert main([*arguments, *overrides(place)]) == 0
        maps[Path(name).name] = UnitMap.load(out)
    stored = UnitMap.load(finished.folder / "unitmap")
    assert maps["aligned"].provenance == stored.provenance
    np.testing.assert_array_equal(maps["aligned"].classes, stored.classes)
    np.testing.assert_allclose(maps["base"].safety, maps["model"].safety)
    assert not np.allclose(maps["base"].safety, stored.safety)
    assert main(["units", "transfer", str(tmp_path / "base"), str(finished.folder), "--base"]) == 0
    assert "NOTE" not in capsys.readouterr().out


def test_transfer_beside_its_noise_goes_from_the_runs_model_to_the_one_named(
    finished: Finished, place: Path, capsys: Capture
) -> None:
    arguments = ["units", "noise", str(finished.folder), "base", "--resamples", "4"]
    assert main([*arguments, *overrides(place), "--format", "csv"]) == 0
    shown = pd.read_csv(io.StringIO(capsys.readouterr().out))
    run = reopen(finished.folder, overrides(place)[1::2], silent())
    aligned, base = (
        run.identify(ref, keep_examples=True) for ref in (run.identified_model(), run.model("base"))
    )
    wanted = transfer_noise(aligned, base, run.config.units, resamples=4)
    means = [[share.mean for share in item.shares.values()] for item in wanted]
    given = shown["of_before_mean"].to_numpy().reshape(len(wanted), -1)
    np.testing.assert_allclose(given, 100 * np.array(means, dtype=float))
    assert list(shown["comparison"].unique()) == [item.name for item in wanted]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "data.alignment.0.path is missing"),
        ([], "A record holds no paths: give back what the run was started with, by --set KEY="),
        (["--set", "datta=x"], "Unknown key 'datta'. Did you mean 'data'?"),
    ],
)
def test_what_records_leave_out_must_be_given(
    change: list[str], message: str, finished: Finished, capsys: Capture
) -> None:
    assert main(["units", "stability", str(finished.folder), *change]) == 2
    assert message in capsys.readouterr().err


def test_what_the_record_decides_is_not_given_otherwise(
    finished: Finished, place: Path, capsys: Capture
) -> None:
    """The run's own value would be taken without a word; saying it again is no mistake."""
    arguments = ["units", "stability", str(finished.folder), "--resamples", "10", *overrides(place)]
    assert main([*arguments, "--set", "seed=77"]) == 2
    said = capsys.readouterr().err
    assert f"--set seed=77 would have no effect: the run has seed={finished.record.seed}" in said
    assert main([*arguments, "--set", f"seed={finished.record.seed}"]) == 0


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("model.precision=bfloat16", "model.precision"),
        ("units.budgets={scu: 0.3}", "units.budgets.scu"),
        ("evaluation.harmful_styles=[chat]", "evaluation.harmful_styles"),
        ("ablation.fills=[pooled]", "ablation.fills"),
        ("~ablation.fills", "ablation.fills"),
        ("evaluation.harmful_styles.0=chat", "evaluation.harmful_styles.0"),
        ("evaluation.perplexity=null", "evaluation.perplexity"),
        ("model.pad_token=x", "model.pad_token"),  # the run has null
    ],
)
def test_whatever_its_form_another_value_is_refused(
    word: str, key: str, finished: Finished, place: Path
) -> None:
    given = overrides(place)[1::2]
    with pytest.raises(ConfigError, match=f"would have no effect: the run has {key}="):
        models_of(finished.folder, [*given, word])
    fills = ",".join(finished.record.config["ablation"]["fills"])
    same = ["units.budgets={scu: 0.05}", f"ablation.fills=[{fills}]", "model.precision=float32"]
    models_of(finished.folder, [*given, *same])


def test_an_arm_may_come_before_what_it_ends_at_in_the_alphabet(tmp_path: Path) -> None:
    """Records are written in its order, and a config is checked in that of the run."""
    arms = {"full": ArmConfig(), "budget": ArmConfig("budget", of_class("RU"), match_loss="full")}
    config = config_of("experiment=table2_freezing", "tracker=none")
    config.training.arms = arms
    validate(config)
    made = [trained_arm("aligned", 0.1), trained_arm("full", 0.7), trained_arm("budget", 0.3)]
    record = replace(training_record(arms=made), config=science(config))
    (tmp_path / RECORD).write_text(record.to_json(), encoding="utf-8")
    assert list(models_of(tmp_path, []).config.training.arms) == ["full", "budget"]


def test_how_a_judge_is_reached_can_be_said_again(finished: Finished, tmp_path: Path) -> None:
    """Records leave it out, and a judge that is asked again (an atlas's) cannot do without."""
    given = [
        "+judge@evaluation.judges.harm=harmbench",
        "evaluation.judges.harm.weights.path=w",
        "evaluation.judges.harm.prompt_path=wording.txt",
        "evaluation.judges.harm.device=cpu",
        "+judge@evaluation.judges.rubric=hexphi_endpoint",
        "evaluation.judges.rubric.base_url=http://localhost",
        "evaluation.judges.rubric.model=m",
        "evaluation.judges.rubric.api_key_env=MY_API_KEY",
        "evaluation.judges.rubric.max_requests=9",
    ]
    config = config_of(*given)
    record = replace(finished.record, config=science(config))
    (tmp_path / RECORD).write_text(record.to_json(), encoding="utf-8")
    found = models_of(tmp_path, given).config.evaluation.judges
    assert found == config.evaluation.judges


def test_a_record_does_not_have_a_model_s_code_trusted(finished: Finished, place: Path) -> None:
    """Records come from other people; whoever reopens one says whose code runs."""
    config = finished.record.config
    model = {**config["model"], "trust_remote_code": True}
    record = replace(finished.record, config={**config, "model": model})
    given = overrides(place)[1::2]
    with pytest.raises(ConfigError, match=r"again: --set model\.trust_remote_code=true"):
        recorded_config(record, given)
    said = [*given, "model.trust_remote_code=true"]
    assert recorded_config(record, said).model.trust_remote_code
    with pytest.raises(ConfigError, match="would have no effect"):
        recorded_config(finished.record, said)


def test_what_no_record_holds_is_not_taken_from_one(finished: Finished, place: Path) -> None:
    """Somebody may have added it: a key to send, a file to read, a place to write."""
    given = overrides(place)[1::2]
    wanted = recorded_config(finished.record, given)
    added = deepcopy(finished.record.config)
    added["paths"] = {"root": "/theirs"}
    added["atlas"] = {"pool": 3, "settings": {"own": {"safety": {"_target_": "x", "path": "/y"}}}}
    added["model"]["device_map"] = {"": "disk"}
    added["evaluation"]["perplexity"]["batch_size"] = 77
    for judge in added["evaluation"]["judges"].values():
        judge |= {"api_key_env": "AWS_SECRET_ACCESS_KEY", "path": "/home/me/.ssh/id_rsa"}
    added["data"]["harmful_eval"]["path"] = "/home/me/.ssh/id_rsa"
    assert recorded_config(replace(finished.record, config=added), given) == wanted


def test_a_plug_in_s_path_is_part_of_a_record(
    finished: Finished, place: Path, install: Install
) -> None:
    node = {"_target_": f"{install('class Judge: ...')}.Judge", "path": "p", "timeout": 3}
    config = deepcopy(finished.record.config)
    config["evaluation"]["judges"]["theirs"] = node
    found = without_places(config)["evaluation"]["judges"]["theirs"]
    assert found == {"_target_": node["_target_"], "path": "p"}
    assert without_places(finished.record.config) == finished.record.config


PAIR = "evaluation.attacks.pair"


@pytest.mark.parametrize(
    ("chosen", "where"),
    [
        ("+judge@evaluation.judges.rubric=hexphi_endpoint", "evaluation.judges.rubric"),
        (f"+attack@{PAIR}=pair", f"{PAIR}.method.attacker"),
        (f"+attack@{PAIR}=pair", f"{PAIR}.method.judge"),
        ("mt_bench=files", "mt_bench.judge"),
    ],
)
def test_a_key_goes_to_no_host_that_only_a_record_names(
    chosen: str, where: str, finished: Finished, place: Path
) -> None:
    keys = ["attacker", "judge"] if PAIR in where else [where]
    keys = [f"{PAIR}.method.{key}" if PAIR in where else key for key in keys]
    set_up = [chosen, *(f"{key}.model=m" for key in keys), f"{where}.api_key_env=MY_API_KEY"]
    set_up += [word for word in overrides(place)[1::2] if not word.startswith("trainer")]
    config = config_of(*set_up, *(f"{key}.base_url=https://theirs/v1" for key in keys))
    record = replace(finished.record, config=science(config))
    others = [f"{key}.base_url=https://theirs/v1" for key in keys if key != where]
    said = f"{where}.base_url=https://theirs/v1"
    with pytest.raises(
        ConfigError, match=re.escape(f"MY_API_KEY; if it may have it: --set {said}")
    ):
        recorded_config(record, [*set_up, *others])
    found = recorded_config(record, [*set_up, *others, said])
    assert found.evaluation == config.evaluation
    assert found.mt_bench == config.mt_bench


def test_an_endpoint_that_is_sent_no_key_need_not_be_named_again(
    finished: Finished, place: Path
) -> None:
    chosen = "+judge@evaluation.judges.rubric=hexphi_endpoint"
    given = [
        chosen,
        "evaluation.judges.rubric.model=m",
        "evaluation.judges.rubric.base_url=http://h",
    ]
    config = config_of(*overrides(place)[1::2], *given)
    record = replace(finished.record, config=science(config))
    found = recorded_config(record, overrides(place)[1::2])
    assert "api_key_env" not in found.evaluation.judges["rubric"]


@pytest.mark.parametrize(
    "given",
    [
        ["model.source.path={}"],  # as docs/generation.md and `export --help` have it
        ["+model.source.path={}"],
        ["model=local", "model.source.path={}"],
        ["++model.source.path={}", "model.device=cpu"],
    ],
)
def test_of_a_model_in_a_folder_the_folder_is_enough(
    given: list[str], finished: Finished, place: Path
) -> None:
    rest = [item for item in overrides(place)[1::2] if not item.startswith("model")]
    models = models_of(finished.folder, [*rest, *(item.format(place / "model") for item in given)])
    assert models.model("base").location == str(place / "model")
    assert models.config.model.name == finished.record.config["model"]["name"]


def test_of_a_model_in_a_file_the_file_is_enough(finished: Finished) -> None:
    source = {"_target_": "ssah_exp.models.sources.LocalGguf"}
    model = {**finished.record.config["model"], "source": source}
    record = replace(finished.record, config={**finished.record.config, "model": model})
    found = recorded_config(record, ["model.source.path=m.gguf"]).model.source
    assert found == {**source, "path": "m.gguf"}


def test_a_folder_that_is_not_given_is_asked_for(finished: Finished, place: Path) -> None:
    rest = [item for item in overrides(place)[1::2] if not item.startswith("model")]
    with pytest.raises(ConfigError, match=r"model\.source\.path is missing\.\nA record holds no"):
        models_of(finished.folder, rest).model("base")


def test_other_examples_are_refused(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "model").symlink_to(place / "model")
    (tmp_path / "data").mkdir()
    for path in (place / "data").iterdir():
        text = path.read_text()
        changed = text.replace("w1 ", "w2 ") if path.stem == "safety_calibration" else text
        (tmp_path / "data" / path.name).write_text(changed)
    assert main(["units", "stability", str(finished.folder), *overrides(tmp_path)]) == 2
    assert "holds other examples than the run was calibrated on" in capsys.readouterr().err


def test_other_weights_are_refused(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "data").symlink_to(place / "data")
    (tmp_path / "model").mkdir()
    for path in (place / "model").iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0}))
    arguments = ["units", "identify", str(finished.folder), "base", str(tmp_path / "out")]
    assert main([*arguments, *overrides(tmp_path)]) == 2
    assert "holds other weights than the run's model 'base'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(
    finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "out").mkdir()
    arguments = ["units", "identify", str(finished.folder), "base", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


def test_an_unknown_model_is_named(finished: Finished, place: Path, capsys: Capture) -> None:
    arguments = ["units", "identify", str(finished.folder), "nobody", "nowhere"]
    assert main([*arguments, *overrides(place)]) == 2
    assert "'nobody' is neither a folder nor a model of this run: " in capsys.readouterr().err


def test_the_cache_is_found_where_runs_are_a_link(tmp_path: Path) -> None:
    """``runs`` may lie on another disk; every entry was said to be gone."""
    root, disk = tmp_path / "root", tmp_path / "disk" / "runs"
    for place in (root / "cache", disk / "table" / "id"):
        place.mkdir(parents=True)
    (root / "runs").symlink_to(disk)
    assert cache_of(root / "runs" / "table" / "id").root == root / "cache"
    other = tmp_path / "other"
    for place in (other / "cache", other / "runs" / "table" / "id"):
        place.mkdir(parents=True)
    (tmp_path / "mine").symlink_to(other / "runs" / "table" / "id")
    assert cache_of(tmp_path / "mine").root == other / "cache"


def test_a_run_that_lies_less_deep_has_no_cache_beside_it() -> None:
    with pytest.raises(StoreError, match="/run1 is no folder <root>/runs/ARTEFACT/RUN"):
        cache_of(Path("/run1"))


@pytest.mark.parametrize(
    "given",
    [
        "+units.scoring={_target_: ssah_exp.units.scoring.Snip}",
        "units.unweighted=true",
        "+evaluation.perplexity.bos=false",
        "+ablation.sets={heads: {_target_: ssah_exp.units.selectors.OfKind, kind: attention}}",
    ],
)
def test_what_a_run_did_without_is_not_given_to_it(
    finished: Finished, place: Path, given: str, tmp_path: Path, capsys: Capture
) -> None:
    """Its record leaves the key out, and the value would be taken for the run's."""
    options = [*overrides(place), "--set", given]
    out = tmp_path / "out"
    assert main(["export", str(finished.folder), "unaligned", str(out), *options]) == 2
    key = given.split("=")[0].lstrip("+")
    assert f"A {key} is given by --set, and the run has none." in capsys.readouterr().err
    assert not out.exists()
