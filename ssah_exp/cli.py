"""The console command `ssah-exp`.

Only the standard library is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ssah_exp import __version__
from ssah_exp.errors import SsahError

FORMATS = ("markdown", "csv", "json", "latex")


def build_parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    parser = argparse.ArgumentParser(
        prog="ssah-exp",
        description="Experiments on the Superficial Safety Alignment Hypothesis.",
    )
    parser.add_argument("--version", action="version", version=f"ssah-exp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run an experiment (Hydra overrides, -m sweeps, --cfg job)",
        description="Everything behind 'run' goes to Hydra, e.g. ssah-exp run "
        "experiment=quickstart seed=1, or -m units.budgets.scu=0.01,0.02 --cfg job.",
        add_help=False,
    )
    run.set_defaults(module="run")

    tables = commands.add_parser("tables", help="print a table from records, beside the paper's")
    tables.add_argument("artefact", help="e.g. table1_pruning")
    tables.add_argument("--format", choices=FORMATS, default="markdown")
    tables.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    tables.set_defaults(module="tables")

    figure = commands.add_parser("figure", help="draw ASR against training loss from records")
    figure.add_argument("artefact", help="e.g. table2_freezing")
    figure.add_argument("--out", default="asr_against_loss.png", help="file; its suffix decides")
    figure.add_argument("--style", default=None, help="prompt style (default: mean over styles)")
    figure.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    figure.set_defaults(module="figure")

    _add_units(commands)
    _add_delta(commands)
    _add_judges(commands)

    doctor = commands.add_parser("doctor", help="versions, devices, caches, missing extras")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    doctor.set_defaults(module="doctor")

    _add_bench(commands)
    return parser


def _add_units(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    units = commands.add_parser("units", help="classes of units: look, compare, follow, resample")
    actions = units.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="counts and shares per class and layer")
    show.add_argument("path", help="a UnitMap folder, or a run's folder")
    show.add_argument("--format", choices=("text", "json"), default="text")
    show.set_defaults(module="units")

    transfer = actions.add_parser("transfer", help="which units changed class between two models")
    for place, which in (("before", "first"), ("after", "second")):
        transfer.add_argument(
            place, help=f"the {which} model's units: a UnitMap folder, or a run's folder"
        )
    transfer.add_argument("--by", choices=("layer", "kind"), help="also per layer, or per kind")
    transfer.add_argument(
        "--base", action="store_true", help="BEFORE is a base model: class it by z_U alone"
    )
    transfer.add_argument("--format", choices=("text", "csv", "json"), default="text")
    transfer.add_argument("--figure", help="draw it there; the suffix decides the format")
    transfer.set_defaults(module="transfer")

    stability = actions.add_parser(
        "stability",
        help="how far classes depend on the calibration examples",
        description="Of a run: puts its calibration examples through its model once more, writing "
        "nothing, and resamples them. Of a statistics entry: what pooled statistics allow.",
    )
    stability.add_argument("path", help="a run's folder, or a folder of the statistics cache")
    stability.add_argument("--resamples", type=int, default=200, help="draws per comparison")
    stability.add_argument("--seed", type=int, default=0, help="decides every draw")
    stability.add_argument("--format", choices=("text", "json"), default="text")
    stability.add_argument("--figure", help="draw it there; the suffix decides the format")
    stability.set_defaults(module="stability")

    identify = actions.add_parser(
        "identify", help="another model's units, on the calibration examples of a run"
    )
    identify.add_argument("path", help="the run's folder")
    identify.add_argument("model", help="a model folder, or base, aligned, start: the run's own")
    identify.add_argument("out", help="folder for the UnitMap; must not exist yet")
    identify.set_defaults(module="identify")
    for action in (stability, identify):
        action.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override as of 'run' for what records leave out: data.root=DIR, model.device=cpu",
        )


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser("bench", help="measure speed and memory on this machine")
    actions = bench.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser(
        "train",
        help="training a share of the units beside training everything",
        description="Trains the same model on the same batches in three ways, each in a process "
        "of its own: everything (full), a share of the units by masking gradients (masked), and "
        "the same share with parameters for that share alone (compact).",
    )
    train.add_argument(
        "--model",
        help="embedded, llama2-7b, llama2-1b or tiny (default: embedded on a CPU, "
        "llama2-7b with random weights on CUDA)",
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    train.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA only"
    )
    train.add_argument("--share", type=float, default=0.2, help="of the units' weights")
    train.add_argument("--batch", type=int, help="sequences per step (default: 2; CUDA: 4)")
    train.add_argument("--length", type=int, help="tokens per sequence (default: 128; CUDA: 512)")
    train.add_argument("--steps", type=int, default=5, help="timed steps per arm and repeat")
    train.add_argument("--warmup", type=int, default=2, help="steps before them")
    train.add_argument("--repeats", type=int, default=3, help="interleaved repeats of all arms")
    train.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=False)
    train.add_argument(
        "--response-share",
        type=float,
        default=1.0,
        help="share of tokens in the loss, from the end",
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--format", choices=("text", "json"), default="text")
    train.add_argument("--root", default=None, help="where the cache lies (default: paths.root)")
    train.set_defaults(module="bench")


def _add_delta(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    show.add_argument("--format", choices=("text", "json"), default="text")
    delta.set_defaults(module="delta")


def _add_judges(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    judges = commands.add_parser("judges", help="how far judges agree; judge a finished run")
    actions = judges.add_subparsers(dest="action", required=True, metavar="ACTION")
    compare = actions.add_parser(
        "compare",
        help="kappa, bias and errors of judges on the same answers",
        description="Compares judges with each other and, where answers are labelled, with people.",
    )
    compare.add_argument(
        "file", metavar="FILE", help="a labelled .csv such as XSTest's, or a run's completions"
    )
    compare.add_argument("--judges", required=True, help="e.g. wei2024,zou2023")
    compare.add_argument(
        "--labels", metavar="CSV", help="labelled answers: rates of FILE are corrected by them"
    )
    compare.add_argument("--confidence", type=float, default=0.95, help="of every interval")
    run = actions.add_parser(
        "run", help="judge a finished run's stored answers, without its models"
    )
    run.add_argument("run", metavar="RUN", help="the run's folder")
    run.add_argument("--judges", "--judge", required=True, help="e.g. llama_guard3")
    for action in (compare, run):
        action.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME.KEY=VALUE",
            help="a judge's setting, e.g. llama_guard3.path=DIR",
        )
        action.add_argument("--format", choices=("text", "json"), default="text")
        action.add_argument("--root", help="where judgements are kept (default: paths.root)")
    judges.set_defaults(module="judges")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 = done, 2 = something given is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if arguments[:1] == ["run"]:
        options, rest = argparse.Namespace(module="run"), arguments[1:]
    else:
        options, rest = parser.parse_args(arguments), []
    command = import_module(f"ssah_exp.commands.{options.module}")
    try:
        return int(command.execute(options, rest))
    except SsahError as error:
        print(f"ssah-exp: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("ssah-exp: interrupted; run the same command to go on", file=sys.stderr)
        return 130
