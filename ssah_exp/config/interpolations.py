"""What the texts of a config would have looked up when they are resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse

# These read nothing but the config and the clock. Others read the environment (``oc.env``) or make
# interpolations out of texts, in which that could hide (``oc.decode``, ``oc.create``).
_HARMLESS = ("hydra", "now", "oc.select", "oc.dict.keys", "oc.dict.values")


def looked_up(value: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text that looks up more than the config itself.

    Args:
        value: Plain values, not resolved.
        key: Where they lie.

    Yields:
        Dotted key, text, and the resolver it calls, such as ``oc.env``.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from looked_up(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from looked_up(item, f"{key}.{place}")
    elif isinstance(value, str) and "${" in value:
        try:
            found = [*_resolvers(parse(value))]
        except GrammarParseError:  # OmegaConf will refuse it, too
            return
        yield from ((key, value, name) for name in found if name not in _HARMLESS)


def _resolvers(node: Any) -> Iterator[str]:
    """Names of all resolvers in a parsed text; one that is itself looked up begins with ``${``."""
    if type(node).__name__ == "ResolverNameContext":
        yield node.getText()
    for child in getattr(node, "children", None) or ():
        yield from _resolvers(child)
