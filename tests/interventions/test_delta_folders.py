"""The unit delta on model folders: what loads is the tuned model, and errors leave no trace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ssah_exp.digest import digest_folder
from ssah_exp.errors import ModelError, StoreError, UnitError
from ssah_exp.interventions.delta import Delta, apply_to_folder, make_delta, revert_in_folder
from ssah_exp.models.weights import read_weights
from tests.interventions.tuning import (
    ORIGIN,
    TRAIN_ALL_OTHERS,
    plan_for,
    raw,
    raw_all,
    raw_files,
    tuned,
)
from tests.tiny import tiny_model

DTYPES = [torch.float32, torch.bfloat16]
SHARD = "30KB"


class Folders:
    """A base, a tuned model and the delta between them, on disk."""

    def __init__(
        self,
        root: Path,
        family: str = "llama_gqa",
        dtype: torch.dtype = torch.float32,
        shard: str = "1GB",
    ) -> None:
        self.root = root
        self.base, self.tuned, self.out = root / "base", root / "tuned", root / "out"
        model = tiny_model(family, dtype=dtype)
        self.plan = plan_for(model, "budget", TRAIN_ALL_OTHERS)
        self.after = tuned(model, self.plan)
        model.save_pretrained(self.base, max_shard_size=shard)
        self.after.save_pretrained(self.tuned, max_shard_size=shard)
        (self.base / "notes.txt").write_text("as they were")
        (self.base / "more").mkdir()
        (self.base / "more" / "notes.bin").write_bytes(b"\x00\x01")

    def delta(self) -> Delta:
        return make_delta(read_weights(self.base), read_weights(self.tuned), None, ORIGIN)

    def refused(self, use: Callable[[], None], error: type[Exception], message: str) -> None:
        """``use`` must fail, and everything below the root must be as before."""
        before = digest_folder(self.root), sorted(self.root.rglob("*"))
        with pytest.raises(error, match=message):
            use()
        assert (digest_folder(self.root), sorted(self.root.rglob("*"))) == before


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path, "llama_gqa", shard=SHARD)


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True)
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


@pytest.mark.parametrize("shard", [SHARD, "1GB"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_tuned_model_loads_and_the_base_comes_back(
    family: str, dtype: torch.dtype, shard: str, tmp_path: Path
) -> None:
    folders = Folders(tmp_path, family, dtype, shard)
    assert (len(list(folders.base.glob("*.safetensors"))) > 1) == (shard == SHARD)
    folders.delta().save(tmp_path / "delta.safetensors")
    delta = Delta.load(tmp_path / "delta.safetensors")
    apply_to_folder(delta, folders.base, folders.out)
    assert raw_all(loaded(folders.out)) == raw_all(folders.after.state_dict())
    assert raw_files(folders.out) == raw_files(folders.tuned)
    revert_in_folder(delta, folders.out, tmp_path / "again")
    assert raw_files(tmp_path / "again") == raw_files(folders.base)
    # Everything else is a copy, and nothing is left over.
    others = {
        name: digest
        for name, digest in digest_folder(folders.base).items()
        if not name.endswith(".safetensors")
    }
    assert {"notes.txt", "more/notes.bin", "config.json"} < set(others)
    for copied in (folders.out, tmp_path / "again"):
        assert others.items() <= digest_folder(copied).items()
        assert set(digest_folder(copied)) == set(digest_folder(folders.base))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"base", "tuned", "out", "again", "delta.safetensors"}


def test_a_delta_made_in_memory_fits_the_files(family: str, tmp_path: Path) -> None:
    """As a training run makes it: from state_dicts, which spell tied tensors out."""
    folders = Folders(tmp_path, family)
    before = AutoModelForCausalLM.from_pretrained(folders.base).state_dict()
    made = make_delta(before, folders.after.state_dict(), folders.plan, ORIGIN)
    apply_to_folder(made, folders.base, folders.out)
    assert raw_files(folders.out) == raw_files(folders.tuned)


def test_the_tuned_model_may_be_split_into_other_files(folders: Folders) -> None:
    layout = raw_files(folders.base).keys()
    shutil.rmtree(folders.tuned)
    folders.after.save_pretrained(folders.tuned, max_shard_size="1GB")
    apply_to_folder(folders.delta(), folders.base, folders.out)
    assert raw_all(loaded(folders.out)) == raw_all(folders.after.state_dict())
    assert raw_files(folders.out).keys() == layout


def test_a_base_that_spells_its_tied_head_out(tmp_path: Path) -> None:
    folders = Folders(tmp_path, "llama_tied")
    path = folders.base / "model.safetensors"
    tensors = {name: item.clone() for name, item in load_file(path).items()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt", "made by": "others"})
    delta = folders.delta()
    apply_to_folder(delta, folders.base, folders.out)
    assert raw_all(loaded(folders.out)) == raw_all(folders.after.state_dict())
    result = load_file(folders.out / "model.safetensors")
    assert raw(result["lm_head.weight"]) == raw(folders.after.get_input_embeddings().weight)
    revert_in_folder(delta, folders.out, tmp_path / "again")
    assert raw_files(tmp_path / "again") == raw_files(folders.base)


@pytest.mark.parametrize("exported", [True, False])
def test_what_speaks_of_the_old_weights_stays_behind(folders: Folders, exported: bool) -> None:
    """A certificate beside weights that it is not about would be believed."""
    about = ["certificate.json", "certificate_index.safetensors", "training.json"]
    about += ["cost.json", "entry.json"]
    for name in [*about, "README.md", *(["ssah_exp.json"] if exported else [])]:
        (folders.tuned / name).write_text("about the tuned model")
    (folders.tuned / "notes.txt").write_text("as they were")
    revert_in_folder(folders.delta(), folders.tuned, folders.out)
    kept = {path.name for path in folders.out.iterdir()}
    assert not kept & {*about, "ssah_exp.json"}
    assert ("README.md" in kept) is not exported, "a card of the hub's is about the family"
    assert "notes.txt" in kept


def hub_cache(folder: Path, root: Path) -> Path:
    """A model's folder as the hub's client keeps it: links to blobs, in folders, too."""
    snapshot, blobs = root / "snapshots" / "commit", root / "blobs"
    blobs.mkdir(parents=True)
    for path in folder.rglob("*"):
        if path.is_file():
            place, blob = snapshot / path.relative_to(folder), blobs / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blob)
            place.symlink_to(os.path.relpath(blob, place.parent))
    return snapshot


@pytest.mark.parametrize("linked", [False, True])
def test_links_are_followed(folders: Folders, linked: bool) -> None:
    """A folder of the hub's cache is made of links, and may itself lie behind one."""
    delta = folders.delta()
    snapshot = hub_cache(folders.base, folders.root / "hub")
    (snapshot / "beside").symlink_to("more")
    if linked:
        (folders.root / "link").symlink_to(snapshot)
    apply_to_folder(delta, folders.root / "link" if linked else snapshot, folders.out)
    assert raw_files(folders.out) == raw_files(folders.tuned)
    assert not any(path.is_symlink() for path in folders.out.rglob("*"))
    for name in ("more", "beside"):
        assert (folders.out / name / "notes.bin").read_bytes() == b"\x00\x01"
    assert not folders.out.is_symlink()


def test_weights_may_lie_elsewhere(folders: Folders) -> None:
    """Of these nothing but tensors is read, and people keep them on larger disks."""
    delta, disk = folders.delta(), folders.root / "disk"
    disk.mkdir()
    for path in shards(folders.base):
        path.rename(disk / path.name)
        path.symlink_to(disk / path.name)
    apply_to_folder(delta, folders.base, folders.out)
    assert raw_files(folders.out) == raw_files(folders.tuned)


def test_a_new_folder_may_lie_in_another_one(folders: Folders) -> None:
    out = folders.root / "some" / "where"
    apply_to_folder(folders.delta(), folders.base, out)
    assert raw_files(out) == raw_files(folders.tuned)
    assert [path.name for path in out.parent.iterdir()] == ["where"]


def test_files_keep_their_mode(folders: Folders) -> None:
    modes = {"model-00001-of-00006.safetensors": 0o644, "model-00002-of-00006.safetensors": 0o640}
    for name, mode in modes.items():
        (folders.base / name).chmod(mode)
    apply_to_folder(folders.delta(), folders.base, folders.out)
    for name, mode in modes.items():
        assert (folders.out / name).stat().st_mode & 0o777 == mode


def test_relative_paths(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders.root)
    apply_to_folder(folders.delta(), Path("base"), Path("out"))
    assert raw_files(folders.out) == raw_files(folders.tuned)


# --- nothing is written on an error


@pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "link to nowhere"])
def test_an_existing_output_is_refused(folders: Folders, kind: str) -> None:
    if kind == "file":
        folders.out.write_text("mine")
    elif kind == "link to nowhere":
        folders.out.symlink_to(folders.root / "nowhere")
    else:
        folders.out.mkdir()
        if kind == "folder":
            (folders.out / "model.safetensors").write_text("mine")
    delta = folders.delta()
    for use, folder in ((apply_to_folder, folders.base), (revert_in_folder, folders.tuned)):
        folders.refused(lambda u=use, f=folder: u(delta, f, folders.out), StoreError, "exists")
    folders.refused(
        lambda: apply_to_folder(delta, folders.base, folders.base), StoreError, "exists"
    )


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("name", ["vocab.txt", "more/vocab.txt", "voices", "more.safetensors"])
def test_a_link_to_what_is_not_the_models_is_refused(
    folders: Folders, name: str, hub: bool
) -> None:
    """The new folder is one to be published, and the base somebody else's."""
    delta, secret = folders.delta(), folders.root / "private"
    secret.mkdir()
    (secret / "key").write_text("a key")
    base = hub_cache(folders.base, folders.root / "hub") if hub else folders.base
    (base / name).symlink_to(secret if name == "voices" else secret / "key")
    use = partial(apply_to_folder, delta, base, folders.out)
    folders.refused(use, ModelError, f"{base / name} is a link out of its model's folder")


@pytest.mark.parametrize("way", ["blob", "folder of blobs", "all blobs"])
def test_blobs_that_lead_on_are_refused(folders: Folders, way: str) -> None:
    """A cache that somebody else hands over is no client's."""
    delta, secret = folders.delta(), folders.root / "key"
    secret.write_text("a key")
    snapshot = hub_cache(folders.base, folders.root / "hub")
    blobs = folders.root / "hub/blobs"
    (blobs / "hash").mkdir()
    (blobs / "hash" / "a").symlink_to(secret)
    (blobs / "key").symlink_to(secret)
    leads = {"blob": "blobs/key", "folder of blobs": "blobs/hash", "all blobs": "blobs"}
    (snapshot / "vocab.txt").symlink_to(f"../../{leads[way]}")
    use = partial(apply_to_folder, delta, snapshot, folders.out)
    folders.refused(use, ModelError, "vocab.txt is a link out of its model's folder")


def test_an_output_inside_the_input_is_refused(folders: Folders) -> None:
    delta, inside = folders.delta(), folders.base / "more" / "out"
    (folders.root / "link").symlink_to(folders.base)
    for out in (inside, folders.root / "link" / "out"):
        use = partial(apply_to_folder, delta, folders.base, out)
        folders.refused(use, StoreError, "lies inside")


def test_other_weights_are_refused(folders: Folders) -> None:
    delta, other = folders.delta(), folders.root / "other"
    tiny_model("llama_gqa", seed=5).save_pretrained(other)
    message = r"made for tiny/base, revision r7 \(fingerprint f+\).*Nothing was written\."
    folders.refused(lambda: apply_to_folder(delta, other, folders.out), UnitError, message)
    folders.refused(lambda: revert_in_folder(delta, other, folders.out), UnitError, message)


@pytest.mark.parametrize("touched", ["o_proj", "nothing of it"])
def test_a_base_that_differs_elsewhere_is_refused_unless_asked_for(
    folders: Folders, touched: str
) -> None:
    """In a tensor of which the delta changes a part, and in one it does not name."""
    delta = folders.delta()
    path = sorted(folders.base.glob("*.safetensors"))
    for file in path:
        tensors = load_file(file)
        for name, tensor in tensors.items():
            part = next((part for part in delta.parts if name in part.names), None)
            if touched == "nothing of it" and part is None:
                tensor.view(-1)[0] += 1
                break
            if touched in name and part is not None and part.place is not None:
                tensor.select(part.place.dim, int(part.place.rest[0])).view(-1)[0] += 1
                break
        else:
            continue
        save_file(tensors, file, {"format": "pt"})
        break
    else:
        raise AssertionError("nothing was changed")
    message = "other weights are not .* Nothing was written"
    folders.refused(lambda: apply_to_folder(delta, folders.base, folders.out), UnitError, message)
    apply_to_folder(delta, folders.base, folders.out, other_base=True)
    made, base, tuned = (
        read_weights(folder) for folder in (folders.out, folders.base, folders.tuned)
    )
    apart = [name for name in made if not torch.equal(made[name], tuned[name])]
    assert len(apart) == 1
    revert_in_folder(delta, folders.out, folders.root / "back", other_base=True)
    back = read_weights(folders.root / "back")
    assert all(torch.equal(back[name], base[name]) for name in base)


def test_twice_is_refused(folders: Folders) -> None:
    delta = folders.delta()
    folders.refused(
        lambda: apply_to_folder(delta, folders.tuned, folders.out), UnitError, "already applied"
    )
    folders.refused(
        lambda: revert_in_folder(delta, folders.base, folders.out), UnitError, "already reverted"
    )


def test_a_flipped_bit_in_the_last_file_is_noticed(folders: Folders) -> None:
    delta = folders.delta()
    last = max(folders.base.glob("*.safetensors"))
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    folders.refused(
        lambda: apply_to_folder(delta, folders.base, folders.out), UnitError, "Nothing was written"
    )


def test_a_failure_halfway_leaves_nothing(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta, calls = folders.delta(), []

    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr("ssah_exp.models.weights.save_file", full)
    folders.refused(
        lambda: apply_to_folder(delta, folders.base, folders.out), StoreError, "disk is full"
    )
    assert len(calls) == 2
    assert calls[0].parent != folders.out


def test_a_file_that_cannot_be_copied(folders: Folders) -> None:
    (folders.base / "broken").symlink_to("nowhere")
    delta = folders.delta()
    with pytest.raises(StoreError, match="nothing was kept"):
        apply_to_folder(delta, folders.base, folders.out)
    assert {path.name for path in folders.root.iterdir()} == {"base", "tuned"}


def test_an_output_that_appears_meanwhile_is_kept(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta, out = folders.delta(), folders.out

    def slow(*arguments: object) -> None:
        out.mkdir(exist_ok=True)
        save_file(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ssah_exp.models.weights.save_file", slow)
    with pytest.raises(StoreError, match="exists"):
        apply_to_folder(delta, folders.base, out)
    assert list(out.iterdir()) == []


# --- folders that cannot be read


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def edit_index(folder: Path, content: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def moved_elsewhere(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    places = {name: f"../base/{place}" for name, place in index["weight_map"].items()}
    edit_index(folder, {"weight_map": places})


def swapped(folder: Path) -> None:
    first, second = shards(folder)[:2]
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def refilled(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(shards(folder)[0])
    change(tensors)
    save_file(tensors, shards(folder)[0], {"format": "pt"})


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "no model folder"),
    "no index": (lambda f: (f / "model.safetensors.index.json").unlink(), "has neither"),
    "missing": (lambda f: shards(f)[1].unlink(), r"00002-of-0000\d.safetensors is missing"),
    "cut": (lambda f: shards(f)[2].write_bytes(shards(f)[2].read_bytes()[:-1]), "or damaged"),
    "empty": (lambda f: shards(f)[0].write_bytes(b""), "or damaged"),
    "text": (lambda f: (f / "model.safetensors.index.json").write_text("{"), "is damaged"),
    "list": (lambda f: edit_index(f, []), "is damaged"),
    "no map": (lambda f: edit_index(f, {"metadata": {}}), "is damaged"),
    "no files": (lambda f: edit_index(f, {"weight_map": {}}), "names no file"),
    "elsewhere": (moved_elsewhere, "names no file, or one elsewhere"),
    "swapped": (swapped, "does not hold the tensors that"),
    "fewer": (lambda f: refilled(f, lambda held: held.popitem()), "does not hold the tensors that"),
    "more": (lambda f: refilled(f, lambda held: held.update(w=torch.ones(1))), "does not hold the"),
    "single": (lambda f: save_file({"w": torch.ones(1)}, f / "model.safetensors"), "twice"),
    "mistral": (lambda f: (f / "consolidated.safetensors").touch(), "twice.*consolidated"),
    "mistral's parts": (lambda f: (f / "consolidated.00.pth").touch(), "twice.*consolidated"),
    "pickled": (lambda f: (f / "pytorch_model.bin").touch(), "twice.*pytorch_model.bin"),
    "pickled parts": (lambda f: (f / "pytorch_model-00001-of-00002.bin").touch(), "twice.*pytorch"),
    "parts of others": (lambda f: (f / "model-00009-of-00009.safetensors").touch(), "twice.*00009"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_folder_without_whole_weights_is_refused(folders: Folders, case: str) -> None:
    (damage, message), delta = DAMAGE[case], folders.delta()
    damage(folders.base)
    folders.refused(lambda: apply_to_folder(delta, folders.base, folders.out), ModelError, message)


def test_other_files_with_tensors_are_copied(folders: Folders) -> None:
    save_file({"index": torch.arange(3)}, folders.base / "embeddings.safetensors")
    apply_to_folder(folders.delta(), folders.base, folders.out)
    assert "index" in load_file(folders.out / "embeddings.safetensors")
