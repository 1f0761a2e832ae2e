"""What a trained arm leaves in the run's folder: the model, and a delta of what it changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ssah_exp import ranks
from ssah_exp.cache import Cache
from ssah_exp.errors import ModelError, UnitError
from ssah_exp.interventions.delta import make_delta
from ssah_exp.interventions.delta_parts import Weights, dtype_name, with_copies
from ssah_exp.models.attached.folder import has_adapter
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.weights import read_weights
from ssah_exp.pipeline.training_arms import TrainingArm
from ssah_exp.pipeline.tuning import Tuned
from ssah_exp.records.record import file_name
from ssah_exp.storage import way_to, whole_path
from ssah_exp.training.certificate import load_plan

# Raised when the same two models would give another file.
DELTA_VERSION = 3


def publish(
    arm: TrainingArm, tuned: Tuned, start: ModelRef, folder: Path, cache: Cache
) -> str | None:
    """Put ``models/<name>`` and, under a policy on units, ``deltas/<name>.safetensors``.

    Args:
        arm: What was trained.
        tuned: Its model, in the cache, and the model it was trained from.
        start: The model every arm starts from. An arm of two phases has a delta against this one,
            which the user has, and not against the first phase's result.
        folder: The run's folder.
        cache: Where deltas are kept.

    Returns:
        Why the arm's delta could not be made; None if it was, or if the arm is to have none.

    Raises:
        UnitError: What the arm's plan holds frozen changed, or nothing did.
    """
    place = file_name(arm.name)
    if ranks.first():
        _link_model(folder / "models" / place, Path(tuned.ref.location))
    if arm.mask is None or has_adapter(Path(tuned.ref.location)):
        return None  # a delta of everything would be a whole model; an adapter has its own files
    material = {"version": DELTA_VERSION, "base": start.fingerprint, "tuned": tuned.ref.fingerprint}

    def compute(work: Path) -> None:
        before, after = read_weights(start.folder()), read_weights(Path(tuned.ref.location))
        _check_precision(before, after)
        _check_tensors(before, after)
        # Of two phases the second may change all that the first may, which was checked before.
        plan = load_plan(Path(tuned.ref.location))
        make_delta(before, after, plan, start).save(work / "delta.safetensors")

    def put() -> str | None:
        try:
            with ranks.alone():
                entry = cache.get_or_compute("delta", material, compute)
        except ModelError as error:
            return str(error)
        target = folder / "deltas" / f"{place}.safetensors"
        _link_file(target, entry.folder / "delta.safetensors")
        return None

    return ranks.from_first(put)  # also why there is none, for which the others would wait


def _check_precision(before: Weights, after: Weights) -> None:
    for name in sorted(before.keys() & after.keys()):
        if before[name].dtype != after[name].dtype:
            raise ModelError(
                f"{name} is {dtype_name(before[name])} in the start's files and was trained as "
                f"{dtype_name(after[name])}; bits of one type cannot be put into another."
            )


def _check_tensors(before: Weights, after: Weights) -> None:
    """Refuse files with tensors the model does not have: what transformers saves lacks them."""
    try:
        with_copies(after, before)
    except UnitError as error:
        raise ModelError(
            f"{str(error).rstrip('.')}, which is in the start's files and no part of the model."
        ) from error


def _link_model(link: Path, model: Path) -> None:
    """Make a relative link, so that the whole root may be moved."""
    with whole_path(link) as place:  # an equal run may do the same meanwhile
        place.symlink_to(way_to(model, link.parent), target_is_directory=True)


def _link_file(link: Path, source: Path) -> None:
    with whole_path(link) as place:
        try:
            os.link(source, place)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, place)
