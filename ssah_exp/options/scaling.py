"""Options of `ssah-exp scaling`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `scaling`."""
    scaling = commands.add_parser(
        "scaling",
        help="work out time and memory on 1, 8 and 64 GPUs",
        description="Prints the table of docs/scaling.md: worked out by formulas from a few "
        "measured rates, not measured.",
    )
    scaling.add_argument(
        "--forward",
        type=float,
        help="FLOP/s of a forward pass on one GPU (default: 451e12, measured on an H100)",
    )
    scaling.add_argument("--card", type=float, help="bytes of memory per GPU (default: 80e9)")
    scaling.add_argument(
        "--link", type=float, help="bytes/s into a GPU within a machine (default: 200e9, assumed)"
    )
    scaling.add_argument(
        "--network", type=float, help="bytes/s into a GPU between machines (default: 25e9, assumed)"
    )
    scaling.add_argument(
        "--growth", help="instead: identification extrapolated from a report of `bench growth`"
    )
    scaling.set_defaults(module="scaling")
