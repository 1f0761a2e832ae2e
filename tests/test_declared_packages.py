"""What the package imports is what it declares, and not only what others happen to bring along."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = ("ssah_exp", "hydra_plugins")


def imported() -> Iterator[str]:
    """Top-level names of absolute imports, wherever in a file they stand."""
    for path in (file for package in OWN for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = [line for name, lines in extras.items() if name != "dev" for line in lines]
    declared = {
        normal(re.split(r"[^\w.-]", line)[0]) for line in (*project["dependencies"], *users)
    }
    brings = packages_distributions()  # an extra that is not installed is called as its import
    others = set(imported()) - set(sys.stdlib_module_names) - set(OWN)
    assert {"torch", "submitit"} <= others
    missing = {name for name in others if not declared & set(map(normal, brings.get(name, [name])))}
    assert not missing
