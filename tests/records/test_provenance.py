"""What a run was made with: versions of all that may decide a number."""

from __future__ import annotations

from importlib.metadata import version

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
