"""Classes of a user's own package in a config: by consent, and part of what a result is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.build import build
from ssah_exp.config.identity import run_id
from ssah_exp.config.plugins import VARIABLE, code_of, plugin_code, plugins
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.judges import Judge, KeywordJudge
from ssah_exp.evaluation.judges.base import Verdict
from tests.config.composing import config_of
from tests.plugins import HARM_JUDGE, JUDGE, Install

KEYWORDS = {"_target_": "ssah_exp.evaluation.judges.KeywordJudge", "name": "k", "phrases": ["no"]}


def test_no_package_but_this_one_is_trusted_unasked(install: Install) -> None:
    name = install(JUDGE, trusted=False)
    with pytest.raises(ConfigError, match=rf"x\._target_={name}\.Short is not allowed.*{VARIABLE}"):
        build({"_target_": f"{name}.Short"}, "x", Judge)


def test_a_trusted_class_is_built_from_its_checked_arguments(install: Install) -> None:
    name = install(JUDGE)
    judge = build({"_target_": f"{name}.Short", "words": 2}, "x", Judge)
    assert judge.judge(["p", "p"], ["one", "one two three"]) == [Verdict.REFUSED, Verdict.COMPLIED]
    with pytest.raises(ConfigError, match=r"Unknown key 'x\.wrods'.*words"):
        build({"_target_": f"{name}.Short", "wrods": 2}, "x", Judge)
    with pytest.raises(ConfigError, match=r"x\.words=two is not a whole number"):
        build({"_target_": f"{name}.Short", "words": "two"}, "x", Judge)


def test_a_class_with_open_ended_arguments_takes_any(install: Install) -> None:
    name = install("class Free:\n    def __init__(self, *args, **named):\n        self.n = named\n")
    made: Any = build({"_target_": f"{name}.Free", "a": 1}, "x")
    assert made.n == {"a": 1}


def test_consent_to_one_package_is_no_consent_to_what_it_imports(install: Install) -> None:
    name = install("from subprocess import Popen\n")
    with pytest.raises(ConfigError, match=r"this one is subprocess\.Popen"):
        build({"_target_": f"{name}.Popen", "args": "true"}, "x")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Judge, "x._target_ is no judge: Thing, which has no describe or judge."),
        (KeywordJudge, "x._target_ is no keyword judge: Thing"),
    ],
)
def test_what_is_no_judge_is_named_with_what_it_lacks(
    install: Install, kind: type, message: str
) -> None:
    name = install("class Thing:\n    pass\n")
    with pytest.raises(ConfigError) as caught:
        build({"_target_": f"{name}.Thing"}, "x", kind)
    assert str(caught.value).startswith(message)


def test_the_environment_lists_names_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert plugins() == ()
    monkeypatch.setenv(VARIABLE, " one, two ,one,")
    assert plugins() == ("one", "two")
    monkeypatch.setenv(VARIABLE, "../elsewhere")
    with pytest.raises(ConfigError, match=r"'\.\./elsewhere' is no name of a package"):
        plugins()


def test_a_package_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere_at_all")
    with pytest.raises(ConfigError, match="no package 'nowhere_at_all' on Python's path"):
        plugin_code({"_target_": "nowhere_at_all.Judge"})
    with pytest.raises(ConfigError, match="nowhere_at_all"):
        build({"_target_": "nowhere_at_all.Judge"}, "x")


def test_only_packages_that_a_config_names_count(install: Install) -> None:
    one, other = install(JUDGE), install(JUDGE)
    node = {"judges": {"mine": {"_target_": f"{one}.Short"}}, "list": [{"a": KEYWORDS}]}
    assert plugin_code(node).keys() == {f"plugin.{one}"}
    assert plugin_code({"judge": KEYWORDS}) == {}
    assert plugin_code([{"a": [{"_target_": f"{other}.Short"}]}, node]).keys() == {
        f"plugin.{one}",
        f"plugin.{other}",
    }


@pytest.mark.parametrize("change", ["file", "helper", "data"])
def test_any_file_of_a_package_is_its_code(install: Install, change: str) -> None:
    edited: dict[str, Callable[[Path], object]] = {
        "file": lambda folder: (folder / "__init__.py").write_text(JUDGE + "# edited\n"),
        "helper": lambda folder: (folder / "deep" / "helper.py").write_text("A = 2\n"),
        "data": lambda folder: (folder / "phrases.txt").write_text("no\n"),
    }

    def print_of(prepare: Callable[[Path], object]) -> str:
        name = install(JUDGE, prepare=prepare)
        (code,) = plugin_code({"_target_": f"{name}.Short"}).values()
        return code

    assert print_of(lambda folder: None) == print_of(
        lambda folder: (folder / "__pycache__").mkdir() or (folder / "__pycache__/x.pyc").touch()
    )
    assert print_of(lambda folder: None) != print_of(edited[change])


def test_a_module_of_one_file_has_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssah_one_file.py").write_text(JUDGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "ssah_one_file")
    assert len(plugin_code({"_target_": "ssah_one_file.Short"})["plugin.ssah_one_file"]) == 64


def test_code_of_an_object_is_that_of_its_class_its_parents_and_its_fields(
    install: Install,
) -> None:
    inner = install(JUDGE)
    outer = install(
        f"from dataclasses import dataclass\nimport {inner}\n\n\n"
        f"@dataclass\nclass Held:\n    judge: object\n\n\nclass Child({inner}.Short):\n    pass\n"
    )
    held: Any = build({"_target_": f"{outer}.Held", "judge": {"_target_": f"{inner}.Short"}}, "x")
    child = build({"_target_": f"{outer}.Child"}, "x", Judge)
    both = {f"plugin.{inner}", f"plugin.{outer}"}
    assert code_of(held).keys() == code_of(child).keys() == both
    assert code_of(held.judge).keys() == {f"plugin.{inner}"}
    assert code_of(build(KEYWORDS, "x", Judge)) == {}


def test_parts_in_lists_and_mappings_and_plain_classes_count(install: Install) -> None:
    inner = install(JUDGE)
    outer = install("class Plain:\n    def __init__(self, parts):\n        self.parts = parts\n")
    node = {"_target_": f"{inner}.Short"}
    for parts in ([node], {"a": [node]}, {"_target_": f"{outer}.Plain", "parts": node}):
        made = build({"_target_": f"{outer}.Plain", "parts": parts}, "x")
        assert code_of(made).keys() == {f"plugin.{inner}", f"plugin.{outer}"}


def test_parts_of_python_are_no_packages_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sys")
    with pytest.raises(ConfigError, match="'sys' is part of Python"):
        plugin_code({"_target_": "sys.Anything"})


@pytest.mark.parametrize("key", ["_partial_", "_args_", "_recursive_"])
def test_hydras_own_keys_are_no_arguments_of_an_open_ended_class(
    install: Install, key: str
) -> None:
    name = install("class Free:\n    def __init__(self, **named):\n        self.n = named\n")
    with pytest.raises(ConfigError, match=rf"Unknown key 'x\.{key}'"):
        build({"_target_": f"{name}.Free", key: True}, "x")


def test_what_a_plug_in_calls_its_path_stays_in_the_run_id(install: Install) -> None:
    name = install(JUDGE)
    config = config_of()

    def with_path(target: str, path: str) -> str:
        config.ablation.sets = {
            "mine": {"_target_": target, "path": path, "sha256": "0", "names": []}
        }
        return run_id(config, {})

    ours = "ssah_exp.units.selectors.FromMap"
    assert with_path(ours, "a") == with_path(ours, "b"), "its checksum says what lies there"
    assert with_path(f"{name}.Short", "a") != with_path(f"{name}.Short", "b")


def test_a_judge_of_harm_whose_code_changed_is_asked_again(
    install: Install, tmp_path: Path
) -> None:
    def asked(code: str) -> int:
        judge: Any = build({"_target_": f"{install(code, name='ssah_harm')}.Harm"}, "x", Judge)
        judge.keep_in(tmp_path)
        judge.assess(["p"], ["c"])
        return int(judge.asked)

    assert [asked(HARM_JUDGE), asked(HARM_JUDGE), asked(HARM_JUDGE + "# edited\n")] == [1, 0, 1]
