"""A config node that names the class it becomes."""

from __future__ import annotations

from typing import Any

# Holds a ``_target_``, against whose signature :mod:`ssah_exp.config.build` checks the rest.
Target = dict[str, Any]
