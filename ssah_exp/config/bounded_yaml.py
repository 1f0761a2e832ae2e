"""YAML of other people, whose aliases may be few lines here and fill the memory written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TypeVar

import yaml
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.errors import ConfigError

_LONGEST = 1_000_000  # letters; committed files of claims have six thousand at most
Content = TypeVar("Content")


def read_bounded(path: Path, load: Callable[[str], Content]) -> Content:
    """What ``load`` makes of a file's text, if its aliases do not fill the memory.

    Args:
        path: A YAML file.
        load: Called once the text is known to be bounded.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        yaml.compose(text, _BoundedLoader)
        return load(text)
    except (OmegaConfBaseException, OSError, ValueError, yaml.YAMLError) as error:
        # The system's reason without its number and the path again; YAML's on one line.
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"{path} cannot be read: {' '.join(why.split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} cannot be read: it is nested too deep") from error


class _BoundedLoader(yaml.SafeLoader):
    """Refuses aliases of aliases that would fill the memory wherever they are written out."""

    def get_single_node(self) -> yaml.Node | None:
        """The document's root.

        Raises:
            ValueError: It would be too large.
        """
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _written_out(node, {}) > _LONGEST:
            raise ValueError(f"with its aliases written out it has more than {_LONGEST:,} letters")
        return node


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Letters of a node, and one for each node in it, counted again wherever an alias stands."""
    if id(node) not in known:
        known[id(node)] = _LONGEST + 1  # what an alias to a node within itself finds
        parts = [node.value] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = chain.from_iterable(parts)
        known[id(node)] = 1 + sum(
            len(part) if isinstance(part, str) else _written_out(part, known) for part in parts
        )
    return known[id(node)]
