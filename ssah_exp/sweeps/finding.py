"""Which sweeps there are, and which one is meant."""

from __future__ import annotations

from pathlib import Path

from ssah_exp.errors import StoreError, did_you_mean
from ssah_exp.folders import holding
from ssah_exp.sweeps.folder import PLAN, Sweep


def sweeps_below(root: Path) -> list[Sweep]:
    """Every sweep of a root, oldest first; one that was killed before it had a plan does not count.

    One that may not be read is skipped with a warning.

    Raises:
        StoreError: The folder of sweeps may not be read.
    """
    found = holding(root.absolute() / "sweeps", PLAN)  # workers change directory
    sweeps = [Sweep(path.parent) for path in found if path.stat().st_size > 0]
    # Not by name alone: a folder may be called anything.
    return sorted(sweeps, key=lambda sweep: (sweep.created, sweep.name))


def find_sweep(root: Path, name: str | None, *, to_change: bool = False) -> Sweep:
    """A sweep by its name or its folder; None = the newest.

    Args:
        root: Where runs lie.
        name: Its name or its folder.
        to_change: Whether jobs will be ended or run: then it has to be certain which is the newest.

    Raises:
        StoreError: There is none, or a name is needed.
    """
    sweeps = {sweep.name: sweep for sweep in sweeps_below(root)}
    if name is not None and (Path(name) / PLAN).is_file():
        return Sweep(Path(name).absolute())
    if not sweeps:
        raise StoreError(f"No sweep below {root}. Start one with: ssah-exp run -m KEY=A,B ...")
    if name is None:
        newest = list(sweeps.values())[-1]
        doubt = newest.from_the_future() if to_change and len(sweeps) > 1 else None
        if doubt is not None:
            raise StoreError(f"{doubt} Name the one you mean; ssah-exp status --all lists them.")
        return newest
    if name not in sweeps:
        raise StoreError(f"No sweep '{name}' below {root}.{did_you_mean(name, sweeps)}")
    return sweeps[name]
