"""Options of `ssah-exp figure`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `figure`."""
    figure = commands.add_parser("figure", help="draw ASR against training loss from records")
    figure.add_argument("artefact", help="e.g. table2_freezing")
    figure.add_argument("--out", default="asr_against_loss.png", help="file; its suffix decides")
    figure.add_argument("--style", default=None, help="prompt style (default: mean over styles)")
    figure.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    figure.set_defaults(module="figure")
