"""The files that a run with harness tasks reads, checked before hours of work."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ssah_exp.config.schema import UtilityConfig
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.utility.documents import fingerprint_files
from ssah_exp.evaluation.utility.outcomes import TaskRequest


def utility_inputs(utility: UtilityConfig) -> dict[str, str]:
    """Content hash of each task's files by input name; nothing for tasks from the hub.

    Raises:
        ConfigError: There are tasks, and lm-eval is not installed.
        DataError: A file is missing or malformed.
    """
    if utility.tasks and find_spec("lm_eval") is None:
        raise ConfigError(
            f"utility.tasks={','.join(utility.tasks)} need lm-evaluation-harness: "
            "pip install 'ssah-exp[lm-eval]', or run with utility=none."
        )
    root = files_root(utility)
    if root is None:
        return {}
    return {f"utility.{task}": fingerprint_files(task, root) for task in utility.tasks}


def files_root(utility: UtilityConfig) -> Path | None:
    """Where the files lie; None = documents come from the hub."""
    if utility.source != "files" or utility.root is None:
        return None
    return Path(utility.root).expanduser()


def request_of(task: str, utility: UtilityConfig) -> TaskRequest:
    """What is asked of the harness for one task."""
    return TaskRequest(
        task,
        utility.limit,
        utility.fewshot.get(task),
        files_root(utility),
        utility.batch_size,
    )


def harness_version() -> str:
    """Version of the installed lm-eval; what a task gives may change with it."""
    return version("lm-eval")
