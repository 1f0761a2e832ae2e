"""Options of `ssah-exp run`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `run`; what stands behind it, `--help` included, goes to Hydra."""
    run = commands.add_parser(
        "run", help="run an experiment (Hydra overrides, -m sweeps, --cfg job)", add_help=False
    )
    run.set_defaults(module="run")
