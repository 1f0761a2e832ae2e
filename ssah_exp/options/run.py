"""Options of `ssah-exp run`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `run`."""
    run = commands.add_parser(
        "run",
        help="run an experiment (Hydra overrides, -m sweeps, --cfg job)",
        description="Everything behind 'run' goes to Hydra, e.g. ssah-exp run "
        "experiment=quickstart seed=1, or -m units.budgets.scu=0.01,0.02 seed=0,1.",
        add_help=False,
    )
    run.set_defaults(module="run")
