"""A config node that names what it becomes."""

from __future__ import annotations

from typing import Any

# Holds a ``_target_``; :mod:`ssah_exp.config.build` checks the rest against its signature.
Target = dict[str, Any]
