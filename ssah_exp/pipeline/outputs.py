"""What a trained arm leaves in the run's folder: the model, and a delta of what it changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ssah_exp import ranks
from ssah_exp.cache import Cache
from ssah_exp.interventions.delta import make_delta
from ssah_exp.interventions.weights import read_weights
from ssah_exp.models.sources import ModelRef
from ssah_exp.training.certificate import load_plan

# Raised when the same two models would give another file.
DELTA_VERSION = 1


def publish(name: str, tuned: ModelRef, start: ModelRef, folder: Path, cache: Cache) -> None:
    """Put ``models/<name>`` and, where only units were trained, ``deltas/<name>.safetensors``.

    Args:
        name: The arm's name.
        tuned: Its model, in the cache.
        start: What it was trained from.
        folder: The run's folder.
        cache: Where deltas are kept.
    """
    place = name.replace("/", "-")
    if ranks.first():
        _link_model(folder / "models" / place, Path(tuned.location))
    if not load_plan(Path(tuned.location)).slices or not Path(start.location).is_dir():
        return  # a delta of everything is a copy of the model; a hub repository is not at hand
    material = {"version": DELTA_VERSION, "base": start.fingerprint, "tuned": tuned.fingerprint}

    def compute(work: Path) -> None:
        _write_delta(tuned, start, work / "delta.safetensors")

    entry = cache.get_or_compute("delta", material, compute)
    if not ranks.first():
        return
    target = folder / "deltas" / f"{place}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    _link_file(entry.folder / "delta.safetensors", target)


def _write_delta(tuned: ModelRef, start: ModelRef, file: Path) -> None:
    folder = Path(tuned.location)
    before, after = read_weights(Path(start.location)), read_weights(folder)
    make_delta(before, after, load_plan(folder), start).save(file)


def _link_model(link: Path, model: Path) -> None:
    """A relative link: the whole root may be moved."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(os.path.relpath(model, link.parent), target_is_directory=True)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
