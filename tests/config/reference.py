"""Prints docs/config.md, every key of a run's config: ``python -m tests.config.reference``.

What a key means stands once, in the docstring of its dataclass.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING as GIVEN

from ssah_exp.config.schema import RunConfig

HEAD = (
    "# Every key of a config\n\n"
    "What `ssah-exp run` takes as KEY=VALUE, from the docstrings of "
    "[ssah_exp/config/schema](../ssah_exp/config/schema). The defaults are the schema's; config "
    "groups (`conf/`) set many of them, and `ssah-exp run experiment=... --cfg job` prints what a "
    "run would get. A key that a config does not name takes `+`: `+training.dpo_beta=0.05`. A "
    "*class* is a node with `_target_` and its arguments; NAME stands for one you choose.\n"
)
_LISTED = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_section(made, prefix) for made, prefix in _walk(RunConfig, ""))


def _walk(made: type, prefix: str) -> Iterator[tuple[type, str]]:
    """Every dataclass of the config with the key it lies at, the whole first."""
    yield made, prefix
    for name, kind in get_type_hints(made).items():
        if is_dataclass(kind):
            yield from _walk(kind, f"{prefix}{name}.")
        for inner in filter(is_dataclass, get_args(kind)):  # of a dictionary
            yield from _walk(inner, f"{prefix}{name}.NAME.")


def _section(made: type, prefix: str) -> str:
    meanings: dict[str, str] = {}
    for base in reversed(made.__mro__):
        meanings |= _attributes(base)
    kinds = get_type_hints(made)
    rows = [
        f"| `{prefix}{item.name}` | {_default(item)} | {meanings[item.name]} |"
        for item in fields(made)
        if not is_dataclass(kinds[item.name])
    ]
    if not rows:
        return ""
    title = f"`{prefix.rstrip('.')}`" if prefix else "At the top"
    first = inspect.cleandoc(made.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    lines = [
        f"\n## {title}\n",
        f"{_plain(first)}\n",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *rows, ""])


def _attributes(made: type) -> dict[str, str]:
    """What the docstring of a class says of each attribute."""
    _, _, listed = inspect.cleandoc(made.__doc__ or "").partition("Attributes:\n")
    parts = _LISTED.split(listed)[1:]
    return {
        name: _plain(" ".join(text.split()))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", "\\|")


def _default(item: Field[Any]) -> str:
    value = item.default_factory() if item.default_factory is not MISSING else item.default
    if value is MISSING or value == GIVEN:
        return ""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != "" else '`""`'


if __name__ == "__main__":
    print(page(), end="")
