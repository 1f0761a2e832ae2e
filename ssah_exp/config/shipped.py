"""The shipped config, composed outside a run just as `ssah-exp run` composes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.compose import conf_dir, plain_of
from ssah_exp.config.hydra_errors import explain_hydra_error
from ssah_exp.errors import ConfigError


def compose_shipped(overrides: Sequence[str]) -> dict[str, Any]:
    """The config that a run with these overrides starts from, as plain, resolved values.

    Raises:
        ConfigError: Hydra refuses an override.
    """
    try:
        with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            composed = compose("config", overrides=list(overrides))
        return plain_of(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_hydra_error(error)) from error
