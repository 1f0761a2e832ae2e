"""Options of launchers and sweepers: unknown names and other kinds of values are one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.sweeps.launching import local_options, slurm_options
from ssah_exp.sweeps.search import settings_of

SEARCH = {"metric": "asr/mean/zou2023", "arm": "SCU/pooled"}


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        (local_options, {"workers": "two"}, "hydra.launcher.workers=two is not a whole number or"),
        (local_options, {"workers": 1.5}, "hydra.launcher.workers=1.5 is not a whole number or"),
        (local_options, {"gpus": True}, "hydra.launcher.gpus=True is not a whole number or null."),
        (local_options, {"wokers": 2}, "Did you mean 'workers'?"),
        (slurm_options, {"minutes": "ten"}, "hydra.launcher.minutes=ten is not a whole number."),
        (slurm_options, {"gpus": None}, "hydra.launcher.gpus=None is not a whole number."),
        (slurm_options, {"memory_gb": "16G"}, "hydra.launcher.memory_gb=16G is not a number or"),
        (slurm_options, {"setup": "module load cuda"}, "=module load cuda is not a list."),
        (settings_of, {**SEARCH, "trials": "x"}, "hydra.sweeper.trials=x is not a whole number."),
        (settings_of, {**SEARCH, "trails": 2}, "Did you mean 'trials'?"),
    ],
)
def test_a_wrong_option_is_named(
    made: Callable[[dict[str, Any]], object], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        made(given)
    assert message in str(caught.value)


def test_right_ones_pass() -> None:
    assert local_options({"workers": 2, "gpus": None}).workers == 2
    given = {"memory_gb": 8, "setup": ["export A=${B}"], "sbatch": {"exclude": 7}, "partition": 3}
    options = slurm_options(given)
    assert options.setup == ["export A=${B}"]
    assert settings_of({**SEARCH, "seed": 3}).seed == 3
