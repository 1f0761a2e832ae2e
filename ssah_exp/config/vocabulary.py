"""Words of the config that more than one room reads."""

from __future__ import annotations

CLASSES = ("SCU", "UCU", "CU", "RU")
STATISTICS = ("variance", "flap")
TOKENS = ("response", "all")
STYLES = ("raw", "raw_system", "chat", "chat_system")
CONTROLS = ("random", "matched", "shifted")
POLICIES = ("none", "freeze", "budget")
UNALIGNED, ALIGNED = MODELS = ("unaligned", "aligned")
