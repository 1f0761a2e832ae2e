"""`ssah-exp run`: Hydra composes the config, the pipeline runs it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.command_line import overrides_first
from ssah_exp.config.compose import conf_dir, parse
from ssah_exp.config.foreign_hydra import refuse_foreign_hydra, refuse_foreign_job
from ssah_exp.config.hydra_errors import explain_hydra_error, refuse_mistakes
from ssah_exp.config.unread import refuse_unread
from ssah_exp.errors import ConfigError, SsahError
from ssah_exp.pipeline.garbage import imports_stay
from ssah_exp.sweeps.launching import GIVEN, LAUNCHED, refuse_list
from ssah_exp.sweeps.report import end_of


class _Stopped(BaseException):
    """Carries a user's error past Hydra, which would print a traceback hint of its own."""

    def __init__(self, error: SsahError) -> None:
        super().__init__(str(error))
        self.error = error


def execute(options: argparse.Namespace) -> int:
    """Hand the words after ``run`` to Hydra; 1 = jobs of a sweep failed.

    Args:
        options: With ``words``.

    Raises:
        ConfigError: Something in the composition is wrong.
        SsahError: The run raised it.
        KeyboardInterrupt: A person ended it; for a sweep, with how to go on.
    """
    LAUNCHED.clear()
    words = options.words
    GIVEN[:] = overrides_first(words)
    given = {word.partition("=")[0] for word in words}
    modes = {"-m", "--multirun", "--cfg", "-c", "--info", "-i"} & given
    if len(modes) > 1:
        raise ConfigError(f"Only one of {', '.join(sorted(modes))} can be given at a time.")
    refuse_mistakes(words)
    refuse_foreign_hydra(overrides_first(words))
    # Hydra prints its errors itself and exits 1 unless told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    argv, sys.argv = sys.argv, ["ssah-exp run", *overrides_first(words)]
    try:
        application = hydra.main(
            version_base="1.3", config_path=str(conf_dir()), config_name="config"
        )(run_composed)
        with _choices_only(bool({"--help", "-h"} & given)):
            application()
    except _Stopped as stopped:
        raise stopped.error from stopped
    except KeyboardInterrupt as error:
        if not LAUNCHED or LAUNCHED[-1].cut_short(len(LAUNCHED[-1].jobs())):
            raise
        raise KeyboardInterrupt(f"go on: ssah-exp retry-failed {LAUNCHED[-1].given_as}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_hydra_error(error, words)) from error
    finally:
        sys.argv = argv
    if not LAUNCHED:
        return 0

    for sweep in LAUNCHED:
        sweep.none_follow()
    return max(end_of(sweep) for sweep in LAUNCHED)


def run_composed(composed: DictConfig) -> None:
    """Check a composed config, run its artefact, say where the results lie."""
    try:
        given = HydraConfig.get()
        refuse_list(given.sweeper, given.overrides.task)
        refuse_foreign_job(composed, given.job.env_set, GIVEN)
        config = parse(composed)
        refuse_unread([(config, given.overrides.task)])
        with imports_stay():
            from ssah_exp.pipeline.dispatch import run
        run(config)
    except SsahError as error:
        raise _Stopped(error) from error


@contextmanager
def _choices_only(asked: bool) -> Iterator[None]:
    """If Hydra's help was ``asked`` for, leave out of it the files that others are built on.

    Their names begin with ``_``, and Hydra would list them among the choices of a group.
    """
    if not asked:
        yield
        return
    text = StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        print(re.sub(r"(?m)(?<=[:,] )_\w+, ", "", text.getvalue()), end="")
