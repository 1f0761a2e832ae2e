"""The UnitMap: scores and classes of all units. Identification makes it, all else reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.digest import digest_file, digest_of
from ssah_exp.errors import UnitError
from ssah_exp.jsontext import json_of
from ssah_exp.models.sizes import Anatomy
from ssah_exp.storage import whole_path, write_atomically
from ssah_exp.units.classes import UnitClass, classify
from ssah_exp.units.index import UnitIndex

_FORMAT = 1
_TENSORS = "unitmap.safetensors"
_DESCRIPTION = "unitmap.json"
# Of the description's other keys; earlier versions wrote none.
_OWN_DIGEST = "description_sha256"
# What a map may hold beside its scores, and what it then says.
_MEASURES = {
    "shift": "how far units' means move between its calibration sets",
    "norm": "how large the weights behind its units are",
}
_LEGEND = {
    "kinds": {"0": "head", "1": "neuron"},
    "classes": {str(int(item)): item.name for item in UnitClass},
}


@dataclass(frozen=True)
class ScoreProvenance:
    """How the scores came about.

    Attributes:
        model: Identifier of the scored model.
        revision: Its commit or content hash.
        fingerprint: sha256 over its weights.
        statistic: ``variance`` or ``flap``; where ``units.scoring`` scores, the class's name.
        calibration: Set name -> sha256 of its examples.
        settings: Any further options that decide scores.
    """

    model: str
    revision: str
    fingerprint: str
    statistic: str
    calibration: dict[str, str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class UnitMap:
    """Scores and classes of all units of one model.

    Attributes:
        anatomy: Sizes of the model.
        provenance: Where the scores come from.
        budgets: Shares by which the classes were cut.
        safety: ``(units,)`` float64, z_S.
        utility: ``(units,)`` float64, z_U.
        classes: ``(units,)`` uint8, :class:`UnitClass` values.
        shift: ``(units,)`` float64, how far each unit's mean moves between the calibration sets
            (:func:`~ssah_exp.units.scores.unit_shifts`); None in a consensus, and in maps of
            earlier versions.
        norm: ``(units,)`` float64, how large the weights behind each unit are
            (:func:`~ssah_exp.units.scores.unit_norms`); None where ``shift`` is, and in maps from
            before there were norms.
    """

    anatomy: Anatomy
    provenance: ScoreProvenance
    budgets: BudgetsConfig
    safety: NDArray[np.float64]
    utility: NDArray[np.float64]
    classes: NDArray[np.uint8]
    shift: NDArray[np.float64] | None = None
    norm: NDArray[np.float64] | None = None

    @cached_property
    def index(self) -> UnitIndex:
        """Addresses of the units."""
        return UnitIndex(self.anatomy)

    @classmethod
    def from_scores(
        cls,
        anatomy: Anatomy,
        provenance: ScoreProvenance,
        budgets: BudgetsConfig,
        safety: NDArray[np.float64],
        utility: NDArray[np.float64],
        *,
        shift: NDArray[np.float64] | None = None,
        norm: NDArray[np.float64] | None = None,
    ) -> UnitMap:
        """Classify by ``budgets``."""
        parameters = UnitIndex(anatomy).parameters
        classes = classify(safety, utility, parameters, budgets)
        return cls(anatomy, provenance, budgets, safety, utility, classes, shift, norm)

    def reclassified(self, budgets: BudgetsConfig) -> UnitMap:
        """The same scores under other budgets; costs no forward pass."""
        classes = classify(self.safety, self.utility, self.index.parameters, budgets)
        return replace(self, budgets=budgets, classes=classes)

    def select(self, unit_class: UnitClass) -> NDArray[np.bool_]:
        """``(units,)`` mask of one class."""
        mask: NDArray[np.bool_] = self.classes == unit_class
        return mask

    def select_any(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """``(units,)`` mask of all units of the named classes."""
        return np.isin(self.classes, [UnitClass[name] for name in names])

    def known(self, measure: str) -> NDArray[np.float64]:
        """``(units,)`` float64: what this map holds beside its scores.

        Args:
            measure: ``shift`` or ``norm``.

        Raises:
            UnitError: This map holds none.
        """
        found = self._measures()[measure]
        if found is None:
            raise UnitError(
                f"The UnitMap of {self.provenance.model} does not say {_MEASURES[measure]} (it is "
                "a consensus, or of an earlier version). Identify the units again."
            )
        return found

    def _measures(self) -> dict[str, NDArray[np.float64] | None]:
        """By the name it is stored under."""
        return {name: getattr(self, name) for name in _MEASURES}

    def check_model(self, anatomy: Anatomy, fingerprint: str) -> None:
        """Refuse to be applied to another model.

        Raises:
            UnitError: Sizes or weights differ from the model that was scored.
        """
        if anatomy != self.anatomy:
            raise UnitError(
                f"This UnitMap was made for {self.anatomy.as_dict()}, the model at hand has "
                f"{anatomy.as_dict()}."
            )
        if fingerprint != self.provenance.fingerprint:
            raise UnitError(
                f"This UnitMap was made for {self.provenance.model} "
                f"({self.provenance.fingerprint[:12]}); the model at hand has other weights "
                f"({fingerprint[:12]}). Identify its units first."
            )

    def save(self, folder: Path) -> None:
        """Write ``unitmap.safetensors`` and ``unitmap.json``, the latter last, each whole.

        Raises:
            StoreError: The disk is full or not writable; the file at hand keeps its old content.
        """
        index = self.index
        tensors = {
            "layer": index.layer,
            "kind": index.kind,
            "index": index.index,
            "safety": self.safety,
            "utility": self.utility,
            "class": self.classes,
            **{key: item for key, item in self._measures().items() if item is not None},
        }
        with whole_path(folder / _TENSORS) as temporary:
            save_file({key: np.ascontiguousarray(val) for key, val in tensors.items()}, temporary)
        description = {
            "format": _FORMAT,
            "anatomy": self.anatomy.as_dict(),
            "provenance": asdict(self.provenance),
            "budgets": asdict(self.budgets),
            **_LEGEND,
            "sha256": digest_file(folder / _TENSORS),
        }
        description[_OWN_DIGEST] = _digest_of_others(json.loads(json.dumps(description)))
        write_atomically(folder / _DESCRIPTION, json.dumps(description, indent=1, sort_keys=True))

    @staticmethod
    def files(folder: Path) -> tuple[Path, Path]:
        """The files that :meth:`save` writes into a folder."""
        return folder / _TENSORS, folder / _DESCRIPTION

    @staticmethod
    def checksum(folder: Path) -> str:
        """sha256 of the tensors that :meth:`save` wrote; it names the map's content.

        Args:
            folder: As for :meth:`load`.
        """
        return digest_file(_folder_of(folder) / _TENSORS)

    @classmethod
    def load(cls, folder: Path) -> UnitMap:
        """Read what :meth:`save` wrote, checking both checksums, the legend and the values.

        Maps of earlier versions have no checksum of their description.

        Args:
            folder: The folder, or either of the two files in it.

        Raises:
            UnitError: Missing, not to be read, damaged, changed by hand or of another format.
        """
        folder = _folder_of(folder)
        try:
            description, tensors = _read(folder)
            loaded = cls(
                anatomy=Anatomy(**description["anatomy"]),
                provenance=ScoreProvenance(**description["provenance"]),
                budgets=BudgetsConfig(**description["budgets"]),
                safety=tensors["safety"],
                utility=tensors["utility"],
                classes=tensors["class"],
                **{name: tensors.get(name) for name in _MEASURES},
            )
        except OSError as error:
            raise UnitError(f"The UnitMap in {folder} cannot be read: {error}") from error
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UnitError(f"The UnitMap in {folder} is damaged: {error}") from error
        if loaded.classes.size != loaded.anatomy.units:
            raise UnitError(
                f"The UnitMap in {folder} holds {loaded.classes.size} units; its model has "
                f"{loaded.anatomy.units}."
            )
        for problem in (_changed(description), _unknown_legend(description), _bad_values(loaded)):
            if problem is not None:
                raise UnitError(f"The UnitMap in {folder} cannot be used: {problem}.")
        return loaded


def _folder_of(path: Path) -> Path:
    """A UnitMap's folder, of which either file may be given in its place.

    Only its own files stand for their folder: a mistyped subfolder must not load its parent.
    """
    return path.parent if path.name in (_TENSORS, _DESCRIPTION) else path


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The description and the tensors of a UnitMap; what reading them raises is the caller's.

    Raises:
        UnitError: A file is missing, of another format, or the tensors are not the noted ones.
    """
    description_path, tensors_path = folder / _DESCRIPTION, folder / _TENSORS
    for path in (description_path, tensors_path):
        if not path.is_file():
            raise UnitError(f"No UnitMap in {folder}: {path.name} is missing.")
    description = json_of(description_path.read_text(encoding="utf-8"))
    if description["format"] != _FORMAT:
        raise UnitError(f"{description_path} has format {description['format']}, not {_FORMAT}.")
    if digest_file(tensors_path) != description["sha256"]:
        raise UnitError(f"{tensors_path} is damaged: its checksum differs from the one noted.")
    return description, load_file(tensors_path)


def _digest_of_others(description: dict[str, Any]) -> str:
    """sha256 over a description as JSON gives it back, without its own digest."""
    return digest_of({key: item for key, item in description.items() if key != _OWN_DIGEST})


def _changed(description: dict[str, Any]) -> str | None:
    """What is wrong with a description that was changed since it was written; None = nothing."""
    noted = description.get(_OWN_DIGEST)
    if noted is None or noted == _digest_of_others(description):
        return None
    return (
        f"{_DESCRIPTION} was changed since it was written (its checksum differs from the one "
        f"noted as {_OWN_DIGEST}). Identify the units again, or take the original"
    )


def _unknown_legend(description: dict[str, Any]) -> str | None:
    """What is wrong with a legend that is not the one that numbers are read by; None = nothing."""
    for name, legend in _LEGEND.items():
        if description.get(name) != legend:
            return f"{_DESCRIPTION} has {name} {description.get(name)}, not {legend}"
    return None


def _bad_values(units: UnitMap) -> str | None:
    """What is wrong with scores or classes that no identification gives; None = nothing."""
    named = {"safety": units.safety, "utility": units.utility, **units._measures()}
    for name, scores in named.items():
        if scores is None:
            continue
        if scores.shape != units.classes.shape:
            return f"{scores.size} scores of {name} for {units.classes.size} units"
        if not np.isfinite(scores).all():
            unit = int(np.flatnonzero(~np.isfinite(scores))[0])
            return f"the {name} score of unit {unit} is {scores[unit]}"
    known = np.isin(units.classes, [int(item) for item in UnitClass])
    if not known.all():
        unit = int(np.flatnonzero(~known)[0])
        return f"unit {unit} has class {units.classes[unit]}, which is none of {_LEGEND['classes']}"
    return None
