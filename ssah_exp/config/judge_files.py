"""Judges by name, outside a run: from the same YAML files, with settings given one by one."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ssah_exp.config.bounded_yaml import read_bounded
from ssah_exp.config.checks.judges import judge_problems
from ssah_exp.config.compose import conf_dir, plain_of
from ssah_exp.config.interpolations import looked_up
from ssah_exp.config.ranges import refuse
from ssah_exp.errors import ConfigError, did_you_mean


def read_judges(names: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Judge nodes ready to be built, by name.

    Args:
        names: Options of ``conf/judge``, or paths of ``.yaml`` files.
        settings: ``NAME.KEY=VALUE`` each, with a judge's name.

    Raises:
        ConfigError: A judge that is unknown, unreadable or named twice, or that reads the
            environment; a setting for none of them; or a missing value.
    """
    nodes = {Path(name).stem: _read(name) for name in names}
    if len(nodes) < len(names):
        raise ConfigError(f"A judge is named twice: {', '.join(names)}.")
    for setting in settings:
        dotted, given, value = setting.partition("=")
        name, _, key = dotted.partition(".")
        if name not in nodes:
            raise ConfigError(f"--set {setting}: no judge '{name}'.{did_you_mean(name, nodes)}")
        if not given or not key:
            raise ConfigError(f"--set {setting}: give NAME.KEY=VALUE.")
        try:
            parsed = OmegaConf.from_dotlist([f"{key}={value}"])
            nodes[name] = DictConfig(OmegaConf.merge(nodes[name], parsed))
        except (OmegaConfBaseException, YAMLError) as error:
            raise ConfigError(f"--set {setting}: {error}") from error
    plain = {name: _plain(node) for name, node in nodes.items()}
    problems = list(judge_problems(plain))
    if problems:
        hint = "With this command, give --set NAME.KEY=VALUE, without 'evaluation.judges.' before."
        raise ConfigError("\n".join([*problems, hint]))
    return plain


def _read(name: str) -> DictConfig:
    shipped = conf_dir() / "judge"
    path = Path(name) if name.endswith(".yaml") else shipped / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"Unknown judge '{name}'.{did_you_mean(name, _names(shipped))}")
    node = _loaded(path)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{path} holds no mapping.")
    if "defaults" in node:
        try:
            _bounded(node, path.parent, set())
        except ConfigError as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        node = _with_defaults(path, shipped)
    refuse(
        f"{path}: {key}={text} calls {resolver}, and its value would be written down; "
        f"give it by --set {path.stem}.{key}=VALUE."
        for key, text, resolver in looked_up(OmegaConf.to_container(node, resolve=False))
    )
    return node


def _loaded(path: Path) -> Any:
    return read_bounded(path, lambda text: OmegaConf.load(StringIO(text)))


def _bounded(content: Any, folder: Path, seen: set[Path]) -> None:
    """Read the neighbours that a judge builds on, which Hydra would read whatever they hold.

    Raises:
        ConfigError: One cannot be read.
    """
    plain = OmegaConf.to_container(content, resolve=False)
    built_on = plain.get("defaults") if isinstance(plain, dict) else None
    for item in built_on if isinstance(built_on, list) else ():
        parts = item.items() if isinstance(item, dict) else [("", item)]
        for group, name in parts:
            place = f"{group}/{name}".partition("@")[0].lstrip("/")
            path = folder / f"{place}.yaml"
            if path.is_file() and path not in seen:
                seen.add(path)
                _bounded(_loaded(path), folder, seen)


def _names(folder: Path) -> list[str]:
    return [file.stem for file in folder.glob("*.yaml")]


def _with_defaults(path: Path, shipped: Path) -> DictConfig:
    """A judge that builds on others, in its own folder or shipped.

    Raises:
        ConfigError: One of those does not exist, or a run would take another one of that name.
    """
    folder = path.parent.resolve()
    own = {*_names(folder)} - {path.stem}
    twice = [] if folder == shipped.resolve() else sorted(own & {*_names(shipped)})
    if twice:
        raise ConfigError(
            f"{folder} has a {twice[0]}.yaml of its own: a run would build {path.stem} on the "
            "shipped one. Call yours otherwise."
        )
    also = QuotedString(f"file://{shipped}", Quote.single).with_quotes()
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
            node = compose(path.stem, overrides=[f"hydra.searchpath=[{also}]"])
    except MissingConfigException as error:
        lacking = str(error.missing_cfg_file)
        known = did_you_mean(lacking, {*own, *_names(shipped)})
        raise ConfigError(f"{path} builds on an unknown judge '{lacking}'.{known}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} builds on itself; call it otherwise.") from error
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if "_target_" not in node:
        raise ConfigError(f"{path} has no _target_; a judge needs no @package line.")
    OmegaConf.set_struct(node, False)  # as for a file without defaults: --set may add keys
    return node


def _plain(node: DictConfig) -> dict[str, Any]:
    # A missing value (???) becomes null, which judge_problems reports.
    for key in OmegaConf.missing_keys(node):
        OmegaConf.update(node, str(key), None)
    return plain_of(node, resolve=True)
