"""The weight files of a Hugging Face model folder: read, and rewritten into a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssah_exp.cache import COST, MARKER
from ssah_exp.errors import ModelError, StoreError
from ssah_exp.jsontext import json_of
from ssah_exp.models.sidecar import CERTIFICATE, CERTIFICATE_INDEX, PROVENANCE, TRAINING
from ssah_exp.storage import refuse_existing, whole_folder

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Files that this project writes beside weights about these very weights; beside others, false.
_ABOUT = (CERTIFICATE, CERTIFICATE_INDEX, TRAINING, COST, MARKER)
_CARD = "README.md"
# Names under which programs look for weights; some would load a file that is left unchanged.
_WEIGHT_NAMES = ("model*.safetensors", "consolidated*", "pytorch_model*.bin")
# In files of Llama 1 and 2; later versions of transformers compute, and neither read nor save it.
_COMPUTED = ".rotary_emb.inv_freq"


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a model folder by name, on the CPU; read from disk when they are used.

    Rotary frequencies are left out: they are computed from the config, and only older files have
    them.

    Args:
        folder: As ``save_pretrained`` writes it: one ``model.safetensors``, or several files and
            their index.

    Raises:
        ModelError: Weights are missing, damaged, or there in two forms.
    """
    weights: dict[str, torch.Tensor] = {}
    for name in _weight_files(folder):
        weights.update(_read_file(folder / name)[0])
    return {name: tensor for name, tensor in weights.items() if not name.endswith(_COMPUTED)}


def check_new_folder(folder: Path, out: Path) -> None:
    """Refuse a place that :func:`rewrite_folder` could not write to.

    Raises:
        StoreError: ``out`` exists, or lies inside ``folder``.
    """
    refuse_existing(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise StoreError(f"{out} lies inside {folder}, which is copied. Name another folder.")


def check_companions(folder: Path, weights: Collection[str]) -> None:
    """Refuse a model folder that would carry files from elsewhere into one made of it.

    A folder of the hub's cache is made of links to the blobs beside it. Any other link out of a
    folder may lead to what nobody would publish.

    Args:
        folder: The model.
        weights: Files that may lie anywhere, since nothing but tensors is read of them.

    Raises:
        ModelError: Another file or folder in it is a link to elsewhere.
    """
    own = Path(os.path.realpath(folder))
    blobs = own.parent.parent / "blobs" if own.parent.name == "snapshots" else None
    for path in sorted(folder.rglob("*")):
        there = Path(os.path.realpath(path))
        inside = there.is_relative_to(own) or (there.parent == blobs and there.is_file())
        if not inside and str(path.relative_to(folder)) not in weights:
            raise ModelError(
                f"{path} is a link out of its model's folder, to {there}, which would be copied "
                "with the model. Put the file itself there if it is the model's, or take the link "
                "away."
            )


def rewrite_folder(
    folder: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor]
) -> None:
    """Copy a model folder, applying ``change`` to every tensor.

    Certificates and the like, which would be false beside other weights, are not copied.

    One weight file is in memory at a time; files keep their tensors, header metadata and mode.
    ``out`` appears by one rename, when all is written.

    Args:
        folder: The model; it is only read.
        out: The new folder.
        change: Gets name and tensor, returns the tensor to write, of any shape and dtype.

    Raises:
        StoreError: As :func:`check_new_folder`, or the disk is full or not writable.
        ModelError: As :func:`read_weights` and :func:`check_companions`.
    """
    check_new_folder(folder, out)
    files = _weight_files(folder)
    check_companions(folder, files)
    try:
        with whole_folder(out) as work:
            for name in files:
                tensors, metadata = _read_file(folder / name)
                changed = {key: change(key, tensor) for key, tensor in tensors.items()}
                save_file(changed, work / name, metadata)
                shutil.copymode(folder / name, work / name)  # safetensors lets only the owner read
            left_out = {*files, *_about_the_weights(folder)}
            for path in folder.iterdir():
                if path.name not in left_out:
                    _copy(path, work / path.name)
            check_new_folder(folder, out)
    except OSError as error:
        raise StoreError(f"Cannot write {out}; nothing was kept of it: {error}") from error


def _about_the_weights(folder: Path) -> tuple[str, ...]:
    """Files that describe the old weights; an export's model card is one, a hub's is not."""
    return (*_ABOUT, PROVENANCE, _CARD) if (folder / PROVENANCE).is_file() else _ABOUT


def _copy(path: Path, target: Path) -> None:
    """Copy contents, not links: a folder of the hub's cache is made of links."""
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copy2(path, target)


def _weight_files(folder: Path) -> tuple[str, ...]:
    """Names of the files transformers would load."""
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}.")
    if (folder / _SINGLE).is_file():
        files: tuple[str, ...] = (_SINGLE,)
    elif (folder / _INDEX).is_file():
        files = _shards(folder)
    else:
        raise ModelError(f"{folder} has neither {_SINGLE} nor {_INDEX}.")
    others = {path.name for pattern in _WEIGHT_NAMES for path in folder.glob(pattern)}
    if left := sorted(others - set(files)):
        raise ModelError(
            f"{folder} holds weights twice: in {files[0]} and in {left[0]}. The second would be "
            "left as it is; take it out first."
        )
    return files


def _shards(folder: Path) -> tuple[str, ...]:
    """Names of the files in the index, each holding what the index says."""
    path = folder / _INDEX
    try:
        places: dict[str, str] = json_of(path.read_text(encoding="utf-8"))["weight_map"]
        files = tuple(sorted(set(places.values())))
        plain = all(Path(name).name == name for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not files or not plain:
        raise ModelError(f"{path} is damaged: it names no file, or one elsewhere.")
    for name in files:
        listed = {key for key, place in places.items() if place == name}
        if listed != _read_file(folder / name)[0].keys():
            raise ModelError(f"{folder / name} does not hold the tensors that {_INDEX} lists.")
    return files


def _read_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str] | None]:
    """Tensors and header metadata of one file."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata()
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is missing or damaged: {error}") from error
