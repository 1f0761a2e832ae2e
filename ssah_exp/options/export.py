"""Options of `ssah-exp export`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_overrides


def add(commands: Commands) -> None:
    """Add `export`."""
    export = commands.add_parser(
        "export",
        help="an arm of a finished run as an ordinary Hugging Face folder",
        description="Writes weights, tokenizer, model card and provenance. An ablation is folded "
        "into the weights; a trained arm's certificate is checked and lies beside it.",
    )
    export.add_argument("run", metavar="RUN", help="the run's folder")
    export.add_argument("arm", metavar="ARM", help="as in the record, e.g. SCU/pooled or full")
    export.add_argument("out", metavar="OUT", help="folder to write; must not exist yet")
    add_overrides(
        export,
        "an override as for 'run', for what a record does not hold, e.g. model.source.path=DIR or "
        "model.device=cpu; may be repeated",
    )
    export.set_defaults(module="export")
