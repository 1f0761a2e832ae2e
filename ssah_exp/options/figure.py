"""Options of `ssah-exp figure`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `figure`."""
    figure = commands.add_parser("figure", help="draw an artefact from its records: svg, pdf, png")
    figure.add_argument("artefact", help="e.g. table2_freezing, probe")
    figure.add_argument("--out", default=None, help="file; its suffix decides the format")
    figure.add_argument(
        "--style", default=None, help="prompt style of training tables (default: mean over styles)"
    )
    figure.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    figure.set_defaults(module="figure")
