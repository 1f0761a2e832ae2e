"""Trackers of a test keep their own files in a folder of the tests and see no account."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def wandb_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """W&B without account, server and netrc."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("DATA", "CACHE", "CONFIG"):
            patched.setenv(f"WANDB_{name}_DIR", str(home / name))
        patched.setenv("NETRC", str(home / "netrc"))
        for name in ("API_KEY", "MODE", "BASE_URL", "IDENTITY_TOKEN_FILE"):
            patched.delenv(f"WANDB_{name}", raising=False)
        yield
