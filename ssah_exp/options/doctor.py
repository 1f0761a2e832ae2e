"""Options of `ssah-exp doctor`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_format


def add(commands: Commands) -> None:
    """Add `doctor`."""
    doctor = commands.add_parser("doctor", help="versions, devices, caches, missing extras")
    add_format(doctor, "text", "json")
    doctor.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    doctor.set_defaults(module="doctor")
