"""Judges read outside a run are those that a run composes, whatever they build on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.config.compose import conf_dir
from ssah_exp.config.judge_files import read_judges
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.judges import judge_of
from tests.config.composing import config_of


@pytest.mark.parametrize("name", ["wei2024", "zou2023", "zou2023_text", "zou2023_words"])
def test_a_shipped_judge_is_the_one_of_a_run(name: str) -> None:
    within = config_of(f"+judge@evaluation.judges.extra={name}").evaluation.judges["extra"]
    assert read_judges([name], [])[name] == within


def test_a_shipped_judge_is_found_where_the_package_is_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").symlink_to(conf_dir())
    monkeypatch.setattr("ssah_exp.config.judge_files.conf_dir", lambda: tmp_path / "conf")
    assert read_judges(["zou2023_text"], [])["zou2023_text"]["min_words"] == 1


def test_a_judge_builds_on_a_neighbour_and_on_a_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "my j'udges, both"
    folder.mkdir()
    (folder / "short.yaml").write_text("defaults: [zou2023, _self_]\nname: short\nmin_words: 3\n")
    (folder / "shorter.yaml").write_text("defaults: [short, _self_]\nname: shorter\n")
    found = read_judges([str(folder / "shorter.yaml")], ["shorter.source=ours"])["shorter"]
    shipped = read_judges(["zou2023"], [])["zou2023"]
    assert found == {**shipped, "name": "shorter", "min_words": 3, "source": "ours"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: [zou2O23, _self_]\nname: mine", "unknown judge 'zou2O23'. Did you mean 'zou20"),
        ("defaults: 3\nname: mine", "mine.yaml cannot be read: .*must be a list"),
        ("defaults: [mine, _self_]\nname: mine", "mine.yaml builds on itself; call it otherwise"),
        ("defaults: [broken, _self_]\nname: mine", "mine.yaml cannot be read: .*mapping values"),
        ("# @package a.b\ndefaults: [zou2023, _self_]", "mine.yaml has no _target_; .*@package"),
    ],
)
def test_what_it_cannot_build_on_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "broken.yaml").write_text("a: b: c")
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        read_judges([str(tmp_path / "mine.yaml")], [])


def test_what_is_wrong_with_a_file_is_said_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: b: c")
    with pytest.raises(ConfigError) as refused:
        read_judges([str(path)], [])
    assert str(refused.value).startswith(f"{path} cannot be read: mapping values are not allowed")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("within", ["mine", "other"])
def test_aliases_that_would_fill_the_memory_are_refused(tmp_path: Path, within: str) -> None:
    """A few lines of a file by somebody else kept a command busy until the memory was full."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    (tmp_path / "mine.yaml").write_text("defaults: [other, _self_]\nname: mine\n")
    (tmp_path / f"{within}.yaml").write_text("\n".join(["_target_: x", *lines]))
    with pytest.raises(ConfigError, match="with its aliases written out it has more than 1,000"):
        read_judges([str(tmp_path / "mine.yaml")], [])


def test_a_judge_s_file_names_no_other_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    path = tmp_path / "mine.yaml"
    theirs = "base_url: https://theirs/v1\nmodel: m\napi_key_env: AWS_SECRET_ACCESS_KEY\n"
    path.write_text(f"defaults: [hexphi_endpoint, _self_]\n{theirs}")
    node = read_judges([str(path)], [])["mine"]
    with pytest.raises(ConfigError, match="api_key_env=AWS_SECRET_ACCESS_KEY is not the name of"):
        judge_of(node, "mine", tmp_path)


def test_a_judge_s_file_does_not_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a judge is stands in records and beside them."""
    monkeypatch.setenv("SSAH_TEST_SECRET", "hf_secret")
    path = tmp_path / "mine.yaml"
    for before in ("", "defaults: [zou2023, _self_]\n"):
        path.write_text(before + "_target_: x\nname: ${oc.env:SSAH_TEST_SECRET}\n")
        with pytest.raises(
            ConfigError, match=r"calls oc\.env, .*give it by --set mine\.name=VALUE"
        ):
            read_judges([str(path)], [])


def test_a_neighbour_called_like_a_shipped_judge_would_be_another_one_in_a_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [zou2023, _self_]\nname: mine")
    (tmp_path / "zou2023.yaml").write_text("name: zou2023")
    with pytest.raises(ConfigError, match=r"a zou2023.yaml of its own: a run would build mine on"):
        read_judges([str(tmp_path / "mine.yaml")], [])


def test_set_may_add_an_argument_whatever_a_judge_builds_on() -> None:
    for name in ("wei2024", "zou2023_text"):
        assert read_judges([name], [f"{name}.extra=1"])[name]["extra"] == 1
