"""Options of `ssah-exp units`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.options.base import Commands, add_format, add_overrides

if TYPE_CHECKING:
    import argparse


def add(commands: Commands) -> None:
    """Add `units`."""
    units = commands.add_parser("units", help="classes of units: look, compare, follow, resample")
    actions = units.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add_action in (
        _show, _transfer, _stability, _atlas, _noise, _overlap, _follow, _identify, _seeds,
    ):  # fmt: skip
        add_action(actions)


def _show(actions: Commands) -> None:
    show = _action(actions, "show", "counts and shares per class and layer")
    show.add_argument("path", help="a UnitMap folder, or a run's folder")
    _output(show, "json")


def _transfer(actions: Commands) -> None:
    transfer = _action(actions, "transfer", "which units changed class between two models")
    for place, which in (("before", "first"), ("after", "second")):
        transfer.add_argument(
            place, help=f"the {which} model's units: a UnitMap folder, or a run's folder"
        )
    transfer.add_argument("--by", choices=("layer", "kind"), help="also per layer, or per kind")
    transfer.add_argument(
        "--base", action="store_true", help="BEFORE is a base model: class it by z_U alone"
    )
    _output(transfer, "csv", "json", "markdown", "latex")


def _stability(actions: Commands) -> None:
    stability = _action(
        actions,
        "stability",
        "how far classes depend on the calibration examples",
        "Of a run: puts its calibration examples through its model once more, writing nothing, and "
        "resamples them. Of a statistics entry: what pooled statistics allow.",
    )
    stability.add_argument("path", help="a run's folder, or a folder of the statistics cache")
    _draws(stability)
    _output(stability, "json")
    _overrides(stability)


def _atlas(actions: Commands) -> None:
    atlas = _action(
        actions,
        "atlas",
        "how far classes depend on how they were calibrated",
        "Calibrates a run's model on other data, examples, tokens and numbers of examples, and "
        "compares the classes. Say which: --set atlas=bundled or --set atlas=paper_files.",
    )
    atlas.add_argument("path", help="a run's folder")
    _draws(atlas)
    atlas.add_argument(
        "--consensus",
        help="folder for a UnitMap of the SCU that the settings agree on; must not exist yet",
    )
    atlas.add_argument(
        "--share",
        type=float,
        default=0.5,
        help="the settings agree on a unit that is SCU in at least this share of the resamples, "
        "averaged over the settings; above 0, at most 1",
    )
    _output(atlas, "csv", "json")
    _overrides(atlas)


def _noise(actions: Commands) -> None:
    noise = _action(
        actions,
        "noise",
        "which units change class from a run's model to another, beside what redrawing the "
        "calibration examples changes",
    )
    _run_and_model(noise)
    _draws(noise)
    _output(noise, "csv", "json")
    _overrides(noise)


def _overlap(actions: Commands) -> None:
    overlap = _action(actions, "overlap", "how far models of one architecture share a class")
    overlap.add_argument(
        "maps", nargs="+", metavar="MAP", help="a UnitMap or run folder, or NAME=FOLDER; at least 2"
    )
    overlap.add_argument(
        "--class",
        dest="unit_class",
        default="SCU",
        choices=CLASSES,
        help="which class",
    )
    overlap.add_argument("--draws", type=int, default=2000, help="random sets per pair")
    overlap.add_argument("--seed", type=int, default=0, help="decides the random sets")
    _output(overlap, "csv", "json")


def _follow(actions: Commands) -> None:
    follow = _action(actions, "follow", "which classes units had while an arm was trained")
    follow.add_argument("path", help="the folder of a run with training.track.every")
    follow.add_argument("--arm", help="default: the first that was followed")
    _output(follow, "csv", "json")


def _identify(actions: Commands) -> None:
    identify = _action(
        actions,
        "identify",
        "another model's units, on the calibration examples of a run",
    )
    _run_and_model(identify)
    identify.add_argument("out", help="folder for the UnitMap; must not exist yet")
    _overrides(identify)


def _seeds(actions: Commands) -> None:
    seeds = _action(
        actions,
        "seeds",
        "one line per seed from the CSV files of 'atlas' or 'noise', as 'claims' reads them",
    )
    seeds.add_argument(
        "files",
        nargs="+",
        metavar="SEED=CSV",
        help="a seed and its file; all files from 'units atlas', or all from 'units noise'",
    )
    seeds.add_argument(
        "--measure", help="for 'units atlas': which of the file's measures (default: jaccard_SCU)"
    )
    for end, which, default in (("before", "from", "SCU"), ("after", "to", "CU")):
        seeds.add_argument(
            f"--{which}",
            dest=end,
            choices=CLASSES,
            help=f"for 'units noise': the class {end} training (default: {default})",
        )
    seeds.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="HEADING=NAME",
        help="take this setting or comparison, under this heading (default: all that there are)",
    )
    add_format(seeds, "csv", "json")


def _action(
    actions: Commands, name: str, what: str, more: str | None = None
) -> argparse.ArgumentParser:
    """Add a subcommand, which the module of its name in ``ssah_exp.commands`` carries out."""
    parser = actions.add_parser(name, help=what, description=more)
    parser.set_defaults(module=name)
    return parser


def _run_and_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="the run's folder")
    parser.add_argument("model", help="a model folder, or base, aligned, start: the run's own")


def _draws(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resamples", type=int, default=200, help="draws per comparison")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw")


def _output(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Add the form of what is printed, ``text`` or one of ``forms``, and a picture of it."""
    add_format(parser, "text", *forms)
    parser.add_argument("--figure", help="draw it there; the suffix decides the format")


def _overrides(parser: argparse.ArgumentParser) -> None:
    add_overrides(
        parser,
        "an override as for 'run', for what a record does not hold, e.g. data.root=DIR or "
        "model.device=cpu; may be repeated",
    )
