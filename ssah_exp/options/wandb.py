"""Options of `ssah-exp wandb`."""

from __future__ import annotations

from ssah_exp.options.base import Commands
from ssah_exp.options.mirror import add_choice


def add(commands: Commands) -> None:
    """Add `wandb`."""
    wandb = commands.add_parser("wandb", help="Weights & Biases: send finished records later")
    actions = wandb.add_subparsers(dest="action", required=True, metavar="ACTION")
    sync = actions.add_parser("sync", help="the same as 'mirror wandb'")
    add_choice(sync)
    sync.add_argument("--offline", action="store_true", help="write files, send nothing")
    sync.set_defaults(module="mirror", tracker="wandb")
