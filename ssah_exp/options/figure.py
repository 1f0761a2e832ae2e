"""Options of `ssah-exp figure`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_sources

SETTING, SHARE = "setting", "share"


def add(commands: Commands) -> None:
    """Add `figure`."""
    figure = commands.add_parser("figure", help="draw an artefact from its records: svg, pdf, png")
    figure.add_argument(
        "artefact",
        help="table1_pruning: classes beside their controls; probe: distances; training tables: "
        "ASR against training loss",
    )
    figure.add_argument(
        "--by",
        metavar=f"{{{SETTING},{SHARE},KEY}}",
        default=SETTING,
        help="setting: a picture for each set of runs that differ in the seed alone; share: ASR "
        "and perplexity over the share of parameters that arms change; KEY: both over a value of "
        "the config that was swept, a number (units.samples) or words, side by side "
        "(ablation.primary_fill, model.name)",
    )
    figure.add_argument(
        "--of",
        help="with --by share or KEY, of a pruning table: the class, or the set of ablation.sets, "
        "that is drawn (default: SCU); with --by KEY, of a training table: the arm",
    )
    figure.add_argument(
        "--out",
        help="file, its suffix decides the format; several settings get a number each (default: a "
        "name of the figure's own, in this folder)",
    )
    figure.add_argument("--style", help="prompt style of tables (default: mean over styles)")
    figure.add_argument(
        "--judge", help="whose verdicts, in tables (default: the run's primary judge)"
    )
    add_sources(figure)
    figure.set_defaults(module="figure")
