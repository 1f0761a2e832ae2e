"""Options of `ssah-exp compare`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_sources, add_table_format


def add(commands: Commands) -> None:
    """Add `compare`."""
    compare = commands.add_parser(
        "compare",
        help="paired tests of every arm against its controls and the dense model",
        description="Differences on the same prompts with intervals, McNemar's and permutation "
        "tests, Holm's adjustment and equivalence tests, from records alone.",
    )
    compare.add_argument(
        "what",
        metavar="ARTEFACT_OR_RUN",
        nargs="+",
        help="an artefact, e.g. table1_pruning, or runs' folders or record files",
    )
    compare.add_argument(
        "--claim",
        choices=("differs", "no-worse", "equivalent"),
        help="say line by line whether this is shown",
    )
    compare.add_argument(
        "--metrics", help="compare these only: asr,perplexity or asr/raw+gcg or utility,score"
    )
    compare.add_argument("--judge", help="whose verdicts (default: the run's primary judge)")
    compare.add_argument(
        "--margin",
        type=float,
        default=0.05,
        help="largest difference of a rate that counts as none for no-worse and equivalent; 0.05 "
        "is 5 percentage points",
    )
    compare.add_argument(
        "--loss-margin", type=float, default=0.05, help="the same for losses, in nats per token"
    )
    compare.add_argument(
        "--score-margin",
        type=float,
        default=0.05,
        help="the same for scores, as a share of the judge's scale",
    )
    compare.add_argument("--confidence", type=float, default=0.95, help="level of intervals")
    add_table_format(compare)
    add_sources(compare)
    compare.set_defaults(module="compare")
