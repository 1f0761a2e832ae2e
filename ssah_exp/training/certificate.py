"""Proof that what was frozen stayed frozen to the last bit, and that the rest did change."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ssah_exp.digest import digest_of
from ssah_exp.errors import ModelError
from ssah_exp.interventions.delta_parts import digest
from ssah_exp.interventions.plan import Slice, TrainingPlan
from ssah_exp.models.placement import weights_at_hand
from ssah_exp.models.sidecar import CERTIFICATE, CERTIFICATE_INDEX
from ssah_exp.storage import write_atomically

# Values compared at a time: two copies as float64 are one megabyte.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Certificate:
    """What a training run did to the weights.

    Attributes:
        frozen: Parameter name -> sha256 of its frozen part, equal before and after.
        frozen_weights: How many weights those parts hold.
        changeable_weights: How many weights the plan allowed to change, and those of an adapter
            that stays beside them.
        changed_weights: How many of them have another value than before.
        change_norm: L2 norm of the change over all of them, in float64.
        seconds: Time the proof took. It is not saved, so that equal weights make equal files and
            cached results computed from them are found again.
    """

    frozen: dict[str, str]
    frozen_weights: int
    changeable_weights: int
    changed_weights: int
    change_norm: float
    seconds: float | None = None

    def summary(self) -> dict[str, Any]:
        """For a record: one digest in place of one per parameter."""
        content = {key: value for key, value in asdict(self).items() if value is not None}
        content["frozen_sha256"] = digest_of(content.pop("frozen"))
        content["frozen_tensors"] = len(self.frozen)
        return content


class Witness:
    """Looks at a model before training and, by :meth:`certify`, after it.

    Args:
        model: Before training.
        plan: What may change. The copies of those weights take host memory, not the device's.
    """

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        started = time.perf_counter()
        self._plan = plan
        self._frozen = frozen_digests(model, plan)
        self._before = dict(_changeable(model, plan, copy=True))
        self._seconds = time.perf_counter() - started

    def certify(
        self,
        model: nn.Module,
        beside: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> Certificate:
        """Compare.

        Args:
            model: After training.
            beside: What was trained beside the model's weights, before and after, by name.

        Raises:
            ModelError: A frozen bit moved, nothing that could change did, or what changed is not
                finite, which only the loss of one more step would have shown.
        """
        started = time.perf_counter()
        _compare(self._frozen, frozen_digests(model, self._plan), "during training")
        changed, square = 0, 0.0
        extra = tuple((beside or {}).values())
        now = _changeable(model, self._plan, copy=False)
        own = ((self._before[name], after) for name, after in now)
        for before, after in chain(own, extra):
            moved, part = _change(before, after)
            changed, square = changed + moved, square + part
        if changed == 0:
            raise ModelError(
                "Training changed not one weight: the model is bit for bit what it was. Is the "
                "learning rate too small for the model's precision?"
            )
        if not math.isfinite(square):
            raise ModelError(
                "Training left weights that are not finite. The result is not used; lower the "
                "learning rate."
            )
        total = sum(item.numel() for item in model.parameters())
        changeable = self._plan.changeable(model)
        seconds = self._seconds + time.perf_counter() - started
        return Certificate(
            self._frozen,
            total - changeable,
            changeable + sum(after.numel() for _, after in extra),
            changed,
            square**0.5,
            seconds,
        )


def frozen_digests(model: nn.Module, plan: TrainingPlan) -> dict[str, str]:
    """sha256 of every parameter's part that ``plan`` does not let change.

    Threads hash side by side: sha256 releases the interpreter lock. Each takes a module of its
    own, whose offloaded weights come and go together.
    """
    slices = plan.by_name
    names: dict[str, list[str]] = defaultdict(list)
    for name in sorted([*plan.frozen, *slices]):
        names[name.rpartition(".")[0]].append(name)

    def frozen_part(name: str) -> torch.Tensor:
        tensor = model.get_parameter(name).detach()
        return slices[name].take_rest(tensor) if name in slices else tensor

    def digests(module: str) -> dict[str, str]:
        with weights_at_hand(model.get_submodule(module)):
            return {name: digest(frozen_part(name)) for name in names[module]}

    with ThreadPoolExecutor() as pool:
        return {name: found for part in pool.map(digests, names) for name, found in part.items()}


def digest_tensors(tensors: Sequence[torch.Tensor]) -> str:
    """One sha256 over all values."""
    with ThreadPoolExecutor() as pool:
        return digest_of(list(pool.map(digest, tensors)))


def check_certificate(model: nn.Module, folder: Path) -> None:
    """Check a loaded model against the certificate that was saved beside it.

    Raises:
        ModelError: The certificate is damaged, of another model or of another precision, or frozen
            weights are not what they were.
    """
    plan, frozen, frozen_weights = _load(folder)
    names = {name for name, _ in model.named_parameters()}
    certified = {*plan.by_name, *plan.frozen}
    if unknown := sorted(certified - names):
        raise ModelError(f"{folder / CERTIFICATE} is of another model: it names {unknown[0]}.")
    silent = (names - certified - {*plan.whole}) | (certified ^ frozen.keys())
    if silent:  # what it does not name would pass unchecked
        raise ModelError(f"{folder / CERTIFICATE} is damaged: it says nothing of {min(silent)}.")
    _check_fit(model, plan, frozen_weights, folder)
    _check_precision(model, folder)
    _compare(frozen, frozen_digests(model, plan), f"since {folder / CERTIFICATE} was written")


def save_certificate(certificate: Certificate, plan: TrainingPlan, folder: Path) -> None:
    """Write the certificate, and the slices it refers to, beside a model."""
    slices = {item.name: item.index.contiguous() for item in plan.slices}
    save_file(slices, folder / CERTIFICATE_INDEX)
    content = {
        **{key: value for key, value in asdict(certificate).items() if key != "seconds"},
        "slices": {item.name: {"dim": item.dim, "size": item.size} for item in plan.slices},
        "whole_tensors": list(plan.whole),
        "frozen_tensors": list(plan.frozen),
    }
    write_atomically(folder / CERTIFICATE, json.dumps(content, indent=1, sort_keys=True))


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a saved certificate, for a record."""
    content = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))
    for name in ("slices", "whole_tensors", "frozen_tensors"):
        content.pop(name)
    return Certificate(**content).summary()


def load_plan(folder: Path) -> TrainingPlan:
    """The plan a model in ``folder`` was trained under.

    Raises:
        ModelError: There is none, or it is damaged.
    """
    return _load(folder)[0]


def copy_certificate(folder: Path, target: Path) -> None:
    """Put a model folder's certificate beside a copy of the model."""
    for name in (CERTIFICATE, CERTIFICATE_INDEX):
        shutil.copyfile(folder / name, target / name)


def has_certificate(folder: Path) -> bool:
    """Whether a model folder comes with a certificate."""
    return (folder / CERTIFICATE).is_file()


def _load(folder: Path) -> tuple[TrainingPlan, dict[str, str], int]:
    """The plan, the digest of every frozen part, and how many weights these hold."""
    try:
        content = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))
        index = load_file(folder / CERTIFICATE_INDEX)
        slices = tuple(
            Slice(name, int(item["dim"]), index[name], int(item["size"]))
            for name, item in content["slices"].items()
        )
        plan = TrainingPlan(
            slices, tuple(content["whole_tensors"]), tuple(content["frozen_tensors"])
        )
        return plan, dict(content["frozen"]), int(content["frozen_weights"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"The certificate in {folder} is missing or damaged: {error}") from error


def _check_fit(model: nn.Module, plan: TrainingPlan, frozen_weights: int, folder: Path) -> None:
    """Refuse slices that do not fit the weights, or leave more of them free than was counted."""
    for item in plan.slices:
        shape, index = model.get_parameter(item.name).shape, item.index
        fits = 0 <= item.dim < len(shape) and shape[item.dim] == item.size
        valid = index.dtype == torch.int64 and index.dim() == 1
        if not (fits and valid and bool(((index >= 0) & (index < item.size)).all())):
            raise ModelError(
                f"{folder / CERTIFICATE} is damaged or of another model: its slice of {item.name} "
                "does not fit the weights."
            )
    frozen = sum(tensor.numel() for tensor in model.parameters()) - plan.changeable(model)
    if frozen != frozen_weights:
        raise ModelError(
            f"{folder / CERTIFICATE} is damaged: it counts {frozen_weights} frozen weights and "
            f"names {frozen}."
        )


def _check_precision(model: nn.Module, folder: Path) -> None:
    """Refuse another precision: its bits differ although nobody changed the weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ModelError(f"{folder}/config.json is damaged: {error}") from error
    certified = config.get("dtype", config.get("torch_dtype"))
    loaded = str(next(model.parameters()).dtype).removeprefix("torch.")
    if certified not in (None, loaded):
        raise ModelError(
            f"The weights in {folder} were certified in {certified} and are loaded in {loaded}, "
            f"where their bits cannot be compared. Set model.precision={certified}."
        )


def _changeable(
    model: nn.Module, plan: TrainingPlan, *, copy: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """The changeable part of every parameter, on the host; no two copies of all of them at once."""
    parameters, slices = dict(model.named_parameters()), plan.by_name
    for name in (*plan.whole, *slices):
        tensor = parameters[name].detach()
        whole = name not in slices
        yield name, tensor.to("cpu", copy=copy) if whole else slices[name].take(tensor).cpu()


def _change(before: torch.Tensor, after: torch.Tensor) -> tuple[int, float]:
    """How many values differ, and the sum of their squared differences in float64.

    In chunks that stay in a core's cache: as float64, a whole embedding takes gigabytes and, on a
    CPU, sixteen times as long.
    """
    changed, square = 0, 0.0
    halves = (torch.split(tensor.reshape(-1), _CHUNK) for tensor in (before, after))
    for one, other in zip(*halves, strict=True):
        moved = other.double() - one.double()
        changed += int(moved.count_nonzero())
        square += float(moved.dot(moved))
    return changed, square


def _compare(before: Mapping[str, str], after: Mapping[str, str], when: str) -> None:
    moved = sorted(name for name in before if before[name] != after.get(name))
    if moved:
        raise ModelError(
            f"Frozen weights changed {when}: {', '.join(moved[:5])}"
            f"{f' and {len(moved) - 5} more' if len(moved) > 5 else ''}. The result is not used."
        )
