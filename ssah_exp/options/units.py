"""Options of `ssah-exp units`."""

from __future__ import annotations

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `units`."""
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
