"""`hydra/sweeper=grid` (the default), `list` and `optuna`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from .launchers import SweepLauncher


class GridSweeper(BasicSweeper):
    """Hydra's own: every combination of the values given."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid; if it is refused before its first job, no folder is left."""
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir)).expanduser()
        with read_write(self.config):  # Hydra would write into a folder that is called "~"
            self.config.hydra.sweep.dir = str(folder)
        there = folder.exists()
        try:
            return super().sweep(arguments)
        except Exception:
            if not there and [file.name for file in folder.glob("*")] == ["multirun.yaml"]:
                (folder / "multirun.yaml").unlink()
                folder.rmdir()
            raise

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to a launcher that composes and checks every job before it runs one."""
        if not isinstance(self.launcher, SweepLauncher):
            super().validate_batch_is_legal(batch)


class _OneLauncher:
    """What :class:`ListSweeper` and :class:`OptunaSweeper` share: set-up, and a launcher."""

    launcher: Launcher | None = None
    context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher."""
        self.context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class ListSweeper(_OneLauncher, Sweeper):
    """One job per line of overrides; a line with several values is a grid of its own.

    Args:
        file: A text file; empty lines and what follows a ``#`` are skipped.
        jobs: The same lines in the config or on the command line.
        instead_of: Keys that choose this list on the command line; jobs do not get them.
        shared: Overrides for every line; a line that sets the same key wins.
    """

    def __init__(
        self,
        file: str | None = None,
        jobs: Sequence[str] = (),
        instead_of: Sequence[str] = (),
        shared: str = "",
    ) -> None:
        self._file = file
        self._jobs = list(jobs)
        self._instead_of = list(instead_of)
        self._shared = shared

    def sweep(self, arguments: list[str]) -> Any:
        """Run the list; ``arguments`` go before each line and win over it."""
        from ssah_exp.sweeps.listing import jobs_of

        assert self.launcher is not None
        jobs = jobs_of(arguments, self._file, self._jobs, self._instead_of, self._shared)
        return self.launcher.launch(jobs, 0)


class OptunaSweeper(_OneLauncher, Sweeper):
    """A search by Optuna over ``interval``, ``range`` and ``choice``.

    Args:
        settings: See :class:`ssah_exp.sweeps.search.SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def sweep(self, arguments: list[str]) -> Any:
        """Ask Optuna for values, run the job and tell Optuna, for as many trials as configured."""
        from ssah_exp.sweeps.search import search, settings_of

        assert self.launcher is not None
        assert self.context is not None
        return search(
            settings_of(self._settings), arguments, self.launcher, self.context.config_loader
        )
