"""Models of the hub, from a cache as the hub's own client lays it out; nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.models.attached.folder import save_adapter
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.sidecar import sidecar_folder
from tests import tiny

COMMIT, OTHER, ADAPTED = "0123456789" * 4, "9876543210" * 4, "0011223344" * 4

LOADING = """
import sys
from fnmatch import fnmatchcase
from pathlib import Path
import torch
from ssah_exp.cache import Cache
from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError
from ssah_exp.models.companion import Companion
from ssah_exp.models.load import load_model
from ssah_exp.models.sources import HubModel

config = ModelConfig(
    name="t", source={}, precision="float32", device="cpu", end_of_turn="<|end|>"
)
converted, *commits = sys.argv[1:]
for commit in commits:
    source = HubModel("owner/name", commit)
    ref, _ = source.resolve(Cache(Path(converted)))
    companion = Companion(weights=source, precision="float32", device="cpu")
    try:
        studied = load_model(ref.location, config, ref.revision)
        beside, tokenizer = companion.load_companion("The judge")
    except ModelError as error:
        print("refused", *str(error).splitlines())
        continue
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(studied.model(ids).logits, beside(ids).logits)
    local = load_model(str(ref.folder()), config)
    assert torch.equal(studied.model(ids).logits, local.model(ids).logits)
    assert tokenizer.chat_template
    assert ref.folder().name == commit
    assert (ref.folder() / "model.safetensors").is_file()
    print("loaded", float(beside(ids).logits.sum()))
"""


def loaded(cache: Path, *commits: str) -> list[str]:
    """A line for each commit, from a process that knows the cache as its own."""
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOADING, str(cache / "converted"), *commits]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for commit, seed in ((COMMIT, 0), (OTHER, 1)):
        folder = tmp_path / "models--owner--name" / "snapshots" / commit
        tiny.tiny_model("llama", seed=seed).save_pretrained(folder)
        tiny.tiny_tokenizer().save_pretrained(folder)
    adapted = shutil.copytree(folder.with_name(COMMIT), folder.with_name(ADAPTED))
    model = tiny.tiny_model("llama", seed=0)
    LearnedPrefix.of_tokens(model, [1, 9, 10])
    save_adapter(model, adapted)
    return tmp_path


def test_the_commit_decides_and_one_that_is_not_there_is_refused(
    cache: Path,
) -> None:
    first, second, missing = loaded(cache, COMMIT, OTHER, "f" * 40)
    assert first.startswith("loaded")
    assert second.startswith("loaded")
    assert first != second
    assert missing.startswith("refused")


def test_an_adapter_of_a_repository_is_put_in_as_one_of_a_folder_is(cache: Path) -> None:
    """For a judge, too; left out, the base model would be measured in its name."""
    bare, adapted = loaded(cache, COMMIT, ADAPTED)
    assert bare.startswith("loaded")
    assert adapted.startswith("loaded")
    assert bare != adapted


def test_what_a_repository_has_beside_a_model_need_not_be_there(cache: Path) -> None:
    """The hub's client notes all files of a commit; transformers fetches those that it reads."""
    repository = cache / "models--owner--name"
    there = (repository / "snapshots" / COMMIT).iterdir()
    files = {name: {"size": 1, "blob_id": ""} for name in ("README.md", *(f.name for f in there))}
    (repository / "trees").mkdir()
    (repository / "trees" / f"{COMMIT}.json").write_text(
        json.dumps({"format_version": 1, "files": files}), encoding="utf-8"
    )
    (line,) = loaded(cache, COMMIT)
    assert line.startswith("loaded")


def test_all_that_is_read_beside_a_model_is_fetched_and_its_weights_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate that stays on the hub is not checked, and nobody says so."""
    asked: dict[str, Any] = {}

    def fetched(location: str, **how: Any) -> str:
        asked.update(how, location=location)
        return "fetched"

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert sidecar_folder("owner/name", COMMIT) == Path("fetched")
    assert (asked["location"], asked["revision"]) == ("owner/name", COMMIT)
    beside = ["certificate.json", "certificate_index.safetensors"]
    beside += ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    every = ["config.json", "model.safetensors", "pytorch_model.bin", *beside]
    patterns = asked["allow_patterns"]  # as the hub's client takes them
    assert [name for name in every if any(fnmatchcase(name, one) for one in patterns)] == beside
