"""`hydra/launcher=batch`, `hydra/launcher=local` and `hydra/launcher=slurm`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from ssah_exp.sweeps.job import Job
    from ssah_exp.sweeps.launching import Launch
    from ssah_exp.sweeps.state import JobState


class SweepLauncher(Launcher):
    """Freezes the jobs of a sweep, then has them run.

    Hydra may call ``launch`` several times for one sweep; all of its jobs go into one folder.

    Args:
        options: The launcher's own options.
    """

    name = ""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._launch: Launch | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over, but for ``task_function``: workers know their pipeline.

        Raises:
            ConfigError: The launcher's options are wrong.
            ClusterError: A package that it needs is missing.
            StoreError: The sweep's folder cannot be written.
        """
        from ssah_exp.sweeps.launching import Launch

        self.check()
        self._launch = Launch(hydra_context.config_loader, config, self.name, self._options)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Freeze and run a batch of jobs; a job's failure is in its state and not raised.

        Raises:
            ConfigError: A job's config is wrong; none was run.
            StoreError: The sweep's folder holds another sweep or cannot be written.
            ClusterError: The scheduler did not take the jobs.
        """
        assert self._launch is not None
        jobs = self._launch.freeze(job_overrides, initial_job_idx)
        states = self.run(self._launch, jobs)
        return [
            JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=state)
            for overrides, state in zip(job_overrides, states, strict=True)
        ]

    def check(self) -> None:
        """Refuse wrong options before anything is written."""
        if self._options:
            from ssah_exp.errors import ConfigError

            raise ConfigError(f"Launcher '{self.name}' takes no {', '.join(self._options)}.")

    @abstractmethod
    def run(self, launch: Launch, jobs: Sequence[Job]) -> list[JobState]:
        """Run the jobs, or have them run; return what is known of each."""


class BatchLauncher(SweepLauncher):
    """All jobs in this process, one after the other."""

    name = "batch"

    def run(self, launch: Launch, jobs: Sequence[Job]) -> list[JobState]:
        """Run them to their ends."""
        from ssah_exp.sweeps.batch import run_here
        from ssah_exp.sweeps.launching import tell

        return run_here(launch.sweep, jobs, tell)


class LocalLauncher(SweepLauncher):
    """Several jobs at once on this machine."""

    name = "local"

    def check(self) -> None:
        """See :func:`ssah_exp.sweeps.local.here`."""
        from ssah_exp.sweeps.launching import local_options
        from ssah_exp.sweeps.local import here

        here(local_options(self._options))

    def run(self, launch: Launch, jobs: Sequence[Job]) -> list[JobState]:
        """Run them to their ends."""
        from ssah_exp.sweeps.launching import local_options, tell
        from ssah_exp.sweeps.local import run_at_once

        options = local_options(self._options)
        return run_at_once(launch.sweep, jobs, options, tell, options.code)


class SlurmLauncher(SweepLauncher):
    """One array of Slurm jobs; returns when they are submitted."""

    name = "slurm"

    def check(self) -> None:
        """See :class:`ssah_exp.sweeps.slurm.SlurmOptions`; refuse, too, if submitit is missing."""
        from ssah_exp.sweeps.launching import slurm_options
        from ssah_exp.sweeps.slurm import require_submitit

        slurm_options(self._options)
        require_submitit()

    def run(self, launch: Launch, jobs: Sequence[Job]) -> list[JobState]:
        """Submit them."""
        from ssah_exp.lock import held
        from ssah_exp.sweeps.controller import take_back
        from ssah_exp.sweeps.launching import slurm_options, tell
        from ssah_exp.sweeps.slurm import submit

        sweep, options = launch.sweep, slurm_options(self._options)
        with held(sweep.lock, f"sweep {sweep.name}", tell):  # against 'retry-failed' meanwhile
            wanted = [job for job in jobs if not job.cancelled]
            array = submit(sweep, wanted, options) if wanted else None
        if array is not None:
            tell(f"{len(wanted)} jobs are Slurm's array {array}; this terminal may be closed")
        if gone := len(jobs) - len(wanted) + take_back(sweep, wanted):
            tell(f"{gone} jobs were cancelled meanwhile")
        return [job.state() for job in jobs]
