"""Options of `ssah-exp doctor`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `doctor`."""
    doctor = commands.add_parser("doctor", help="versions, devices, caches, missing extras")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    doctor.set_defaults(module="doctor")
