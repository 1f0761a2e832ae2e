"""Options of commands that compute for long are refused before they begin."""

from __future__ import annotations

import pytest

from ssah_exp.cli import main

Capture = pytest.CaptureFixture[str]
RUN = ["no-such-run"]
COMMANDS = {
    "stability": RUN,
    "atlas": RUN,
    "noise": [*RUN, "base"],
    "overlap": ["no-such-map", "nor-this"],
}


def complaint(capsys: Capture, *words: str) -> list[str]:
    assert main(["units", *words]) == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_draws_seeds_and_pictures_are_looked_at_first(command: str, capsys: Capture) -> None:
    """There is nothing that could be read: what is said is about the options."""
    draws, least = ("draws", 100) if command == "overlap" else ("resamples", 2)
    given = [command, *COMMANDS[command], f"--{draws}", str(least - 1), "--seed", "-1"]
    first, second = complaint(capsys, *given)
    assert first.endswith(f"--{draws}={least - 1} is below {least}.")
    assert second.endswith("--seed=-1 is below 0.")
    (line,) = complaint(capsys, command, *COMMANDS[command], "--figure", "picture.doc")
    assert "Cannot write '.doc'. Allowed: " in line


@pytest.mark.parametrize("share", ["0", "5"])
def test_a_share_of_resamples_is_one(share: str, capsys: Capture) -> None:
    (line,) = complaint(capsys, "atlas", *RUN, "--share", share)
    assert line.endswith(f"--share={share} lies outside (0, 1].")
