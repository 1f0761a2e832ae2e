"""Options of `ssah-exp units`."""

from __future__ import annotations

from ssah_exp.options.base import Commands

_FIGURE = "draw it there; the suffix decides the format"


def add(commands: Commands) -> None:
    """Add `units`."""
    units = commands.add_parser("units", help="classes of units: look, compare, follow, resample")
    actions = units.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="counts and shares per class and layer")
    show.add_argument("path", help="a UnitMap folder, or a run's folder")
    show.add_argument("--format", choices=("text", "json"), default="text")
    show.add_argument("--figure", help=_FIGURE)
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
    transfer.add_argument("--figure", help=_FIGURE)
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
    stability.add_argument("--figure", help=_FIGURE)
    stability.set_defaults(module="stability")

    atlas = actions.add_parser(
        "atlas",
        help="how far classes depend on how they were calibrated",
        description="Of a run: other calibration data, examples, tokens and sizes, one pass each; "
        "--set atlas=paper_files or --set atlas=bundled names them.",
    )
    atlas.add_argument("path", help="a run's folder")
    atlas.add_argument("--resamples", type=int, default=200, help="draws per comparison")
    atlas.add_argument("--seed", type=int, default=0, help="decides every draw")
    atlas.add_argument("--consensus", help="folder for a UnitMap of what the settings agree on")
    atlas.add_argument(
        "--share", type=float, default=0.5, help="of resamples, for the consensus (default: 0.5)"
    )
    atlas.add_argument("--format", choices=("text", "csv", "json"), default="text")
    atlas.add_argument("--figure", help=_FIGURE)
    atlas.set_defaults(module="atlas")

    noise = actions.add_parser(
        "noise", help="transfer between a run's model and another, beside no training at all"
    )
    noise.add_argument("path", help="the run's folder")
    noise.add_argument("model", help="a model folder, or base, aligned, start: the run's own")
    noise.add_argument("--resamples", type=int, default=200, help="draws per comparison")
    noise.add_argument("--seed", type=int, default=0, help="decides every draw")
    noise.add_argument("--format", choices=("text", "csv", "json"), default="text")
    noise.add_argument("--figure", help=_FIGURE)
    noise.set_defaults(module="noise")

    overlap = actions.add_parser("overlap", help="how far models of one architecture share a class")
    overlap.add_argument(
        "maps", nargs="+", metavar="MAP", help="a UnitMap or run folder, or NAME=FOLDER; at least 2"
    )
    overlap.add_argument(
        "--class",
        dest="unit_class",
        default="SCU",
        choices=("SCU", "UCU", "CU", "RU"),
        help="which class (default: SCU)",
    )
    overlap.add_argument("--draws", type=int, default=2000, help="random sets per pair")
    overlap.add_argument("--seed", type=int, default=0, help="decides the random sets")
    overlap.add_argument("--format", choices=("text", "csv", "json"), default="text")
    overlap.add_argument("--figure", help=_FIGURE)
    overlap.set_defaults(module="overlap")

    follow = actions.add_parser("follow", help="which classes units had while an arm was trained")
    follow.add_argument("path", help="the folder of a run with training.track.every")
    follow.add_argument("--arm", help="default: the first that was followed")
    follow.add_argument("--format", choices=("text", "csv", "json"), default="text")
    follow.add_argument("--figure", help=_FIGURE)
    follow.set_defaults(module="follow")

    identify = actions.add_parser(
        "identify", help="another model's units, on the calibration examples of a run"
    )
    identify.add_argument("path", help="the run's folder")
    identify.add_argument("model", help="a model folder, or base, aligned, start: the run's own")
    identify.add_argument("out", help="folder for the UnitMap; must not exist yet")
    identify.set_defaults(module="identify")
    for action in (stability, atlas, noise, identify):
        action.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override as of 'run' for what records leave out: data.root=DIR, model.device=cpu",
        )
