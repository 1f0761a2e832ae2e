"""What a run was made with: versions of all that may decide a number."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from ssah_exp.records import provenance


def test_extras_that_are_installed_are_named() -> None:
    packages = provenance.provenance()["packages"]
    for name in ("torch", "httpx", "lm-eval", "peft"):
        assert packages[name] == version(name)


def test_a_missing_extra_is_left_out_and_a_missing_base_is_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"torch": "2", "vllm": "0.9"}
    monkeypatch.setattr(provenance, "package_version", installed.get)
    found = provenance.package_versions()
    assert (found["torch"], found["vllm"], found["numpy"]) == ("2", "0.9", None)
    assert "peft" not in found


@pytest.mark.parametrize(
    ("status", "dirty"), [(" M ssah_exp/cache.py", True), ("", False), (None, None)]
)
def test_edited_code_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, status: str | None, dirty: bool | None
) -> None:
    said = {"rev-parse": "abc", "status": status}
    monkeypatch.setattr(provenance, "_git", lambda folder, command, *_: said[command])
    found = provenance.code_version()
    assert (found["commit"], found["dirty"]) == ("abc", dirty)


def test_all_runs_of_a_process_are_of_the_code_it_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And git, which may have to read every file of a checkout, is asked for the first alone."""
    before = provenance.provenance()
    before["code"]["commit"] = "a caller's own"
    monkeypatch.setattr(provenance, "_git", lambda *_: "moved on")
    monkeypatch.setattr(provenance, "package_version", lambda name: "updated")
    after = provenance.provenance()
    assert after["code"]["commit"] not in ("moved on", "a caller's own")
    assert after["packages"] == before["packages"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_asking_git_locks_and_writes_nothing(tmp_path: Path) -> None:
    """A job that is killed while it asks must leave no index.lock in somebody's checkout."""

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("x")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    os.utime(tmp_path / "file", (1, 1))  # a status that may write would refresh the index
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    (tmp_path / ".git" / "index.lock").touch()
    assert provenance._git(tmp_path, "status", "--porcelain", "--untracked-files=no") == ""
    (tmp_path / ".git" / "index.lock").unlink()
    assert provenance._git(tmp_path, "status", "--porcelain", "--untracked-files=no") == ""
    assert index.read_bytes() == before
