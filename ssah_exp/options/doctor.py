"""Options of `ssah-exp doctor`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_format, add_root


def add(commands: Commands) -> None:
    """Add `doctor`."""
    doctor = commands.add_parser("doctor", help="versions, devices, caches, missing extras")
    add_format(doctor, "text", "json")
    add_root(doctor)
    doctor.set_defaults(module="doctor")
