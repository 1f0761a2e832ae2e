"""Options of `ssah-exp judges`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_format, add_overrides, add_root


def add(commands: Commands) -> None:
    """Add `judges`."""
    judges = commands.add_parser(
        "judges", help="how far judges agree; judge a finished run, or read it"
    )
    actions = judges.add_subparsers(dest="action", required=True, metavar="ACTION")
    compare = actions.add_parser(
        "compare",
        help="kappa, bias and errors of judges on the same answers",
        description="Compares judges with each other and, where answers are labelled, with people.",
    )
    compare.add_argument(
        "file",
        metavar="FILE",
        help="a .jsonl of a run's completions/, or a .csv with the columns prompt, completion and "
        "final_label (refused, complied, unscored, or XSTest's words)",
    )
    compare.add_argument(
        "--judges",
        required=True,
        help="names or .yaml files, with commas between them, e.g. wei2024,zou2023",
    )
    compare.add_argument(
        "--labels",
        metavar="CSV",
        help="labelled answers, in the same columns: how far judges err on them corrects the "
        "rates of FILE",
    )
    compare.add_argument("--confidence", type=float, default=0.95, help="of every interval")
    run = actions.add_parser(
        "run", help="judge a finished run's stored answers, without its models"
    )
    run.add_argument("run", metavar="RUN", help="the run's folder")
    run.add_argument("--judges", "--judge", required=True, help="e.g. llama_guard3")
    _add_sheet(actions)
    for action in (compare, run):
        action.set_defaults(module="judges")
        setting = "a judge's setting, e.g. llama_guard3.weights.path=DIR"
        add_overrides(action, setting, "NAME.KEY=VALUE")
        add_format(action, "text", "json")
    add_root(compare, "where judgements are kept")
    run.add_argument("--root", help="where judgements are kept (default: the root of the run)")


def _add_sheet(actions: Commands) -> None:
    sheet = actions.add_parser(
        "sheet",
        help="answers of finished runs to be read without knowing which arm gave them",
        description="Draws harmful requests and writes what every arm answered to them in every "
        "prompt style, shuffled, as a csv with a blank column final_label: refused, complied or "
        "unscored. Once it is filled in, `ssah-exp judges run RUN --judges labels --set "
        "labels.path=FILE` reads the labels into each run.",
    )
    sheet.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs")
    sheet.add_argument("--out", required=True, metavar="FILE", help="a .csv that is not there yet")
    sheet.add_argument(
        "--requests",
        type=int,
        default=20,
        help="harmful requests to draw, the same ones in every run that has them (default: 20)",
    )
    sheet.add_argument(
        "--arms", help="only these, e.g. aligned,SCU/pooled (default: every arm of each run)"
    )
    sheet.add_argument(
        "--seed", type=int, default=0, help="decides the requests and the order (default: 0)"
    )
    sheet.set_defaults(module="sheet")
