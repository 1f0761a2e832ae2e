"""Files that this package writes beside weights: their names, and where they lie."""

from __future__ import annotations

from pathlib import Path

from ssah_exp.errors import ModelError
from ssah_exp.models.attached.folder import ADAPTER

CERTIFICATE, CERTIFICATE_INDEX = "certificate.json", "certificate_index.safetensors"
TRAINING = "training.json"
PROVENANCE = "ssah_exp.json"  # of an exported model

_READ = (f"{ADAPTER}/*", CERTIFICATE, CERTIFICATE_INDEX)  # when a model is loaded


def sidecar_folder(location: str, revision: str | None) -> Path:
    """The folder that has what lies beside a model's weights, if anything does.

    transformers fetches weights and config of a hub repository, and nothing that it does not know:
    an adapter would be left out without a word, and the base model measured in its name.

    Args:
        location: A folder or a hub repository id.
        revision: Commit, for hub repositories.

    Raises:
        ModelError: The repository cannot be reached, and nothing of it has been downloaded.
    """
    if Path(location).is_dir():
        return Path(location)
    from huggingface_hub import constants, snapshot_download

    try:
        found = snapshot_download(
            location,
            revision=revision,
            allow_patterns=list(_READ),
            # huggingface-hub 1.33 asks the hub for a commit's list of files even when offline.
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    except Exception as error:  # of the hub's client, its transport or the disk
        raise ModelError(f"{location} cannot be loaded from the hub: {error}") from error
    return Path(found)
