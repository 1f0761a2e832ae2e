"""What the options of several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

FORMATS = ("markdown", "csv", "json", "latex")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
