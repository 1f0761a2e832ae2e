"""Options of `ssah-exp delta`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_format


def add(commands: Commands) -> None:
    """Add `delta`."""
    delta = commands.add_parser("delta", help="keep, apply and revert what training changed")
    actions = delta.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="compare two model folders, write a delta")
    apply = actions.add_parser("apply", help="base and delta -> tuned model, bit for bit")
    revert = actions.add_parser("revert", help="tuned model and delta -> base, bit for bit")
    show = actions.add_parser("show", help="whose it is, what it changes, how large it is")
    for action in (apply, revert, show):
        action.add_argument("delta", metavar="DELTA", help="a file written by 'delta create'")
    for action in (create, apply):
        action.add_argument("base", metavar="BASE", help="folder of the model before training")
    for action in (create, revert):
        action.add_argument("tuned", metavar="TUNED", help="folder of the model after training")
    create.add_argument("file", metavar="FILE", help="the delta to write; must not exist yet")
    for action in (apply, revert):
        action.add_argument("out", metavar="OUT", help="folder to write; must not exist yet")
        action.add_argument(
            "--other-base",
            action="store_true",
            help="write the result even if weights that the delta does not change differ from "
            "those of the model it was made from",
        )
    add_format(show, "text", "json")
    delta.set_defaults(module="delta")
